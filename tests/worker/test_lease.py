"""A claim lives as long as its work, and not past its deadline."""

import time

import pytest
from sqlalchemy import Engine, make_url, text
from structlog.testing import capture_logs

from db.engine import connect
from db.studies import leases
from db.studies.leases import Lease
from neurotriage.core.states import RevisionState
from tests.conftest import until
from tests.db.rows import claimed, ready_revision
from worker.lease import LeaseKeeper

LEASE_S = 1.0


@pytest.fixture
def held(engine: Engine) -> Lease:
    with engine.begin() as connection:
        return claimed(connection, ready_revision(connection), lease_s=LEASE_S)


def _taken_over(engine: Engine, held: Lease) -> bool:
    with engine.begin() as connection:
        return leases.claim(connection, held.revision_id, owner="w2", lease_s=60) is not None


def test_a_claim_is_kept_for_longer_than_its_lease(engine: Engine, held: Lease) -> None:
    lease_s = 4 * LEASE_S  # renewed every second: a machine that stands still for two more does no harm
    with LeaseKeeper(engine, held, lease_s=lease_s, deadline_s=60):
        time.sleep(1.5 * lease_s)
        assert not _taken_over(engine, held)
    until(lambda: _taken_over(engine, held))


def test_a_hung_attempt_is_not_renewed_past_its_deadline(engine: Engine, held: Lease) -> None:
    with LeaseKeeper(engine, held, lease_s=LEASE_S, deadline_s=LEASE_S / 2):
        until(lambda: _taken_over(engine, held))


def test_a_lease_that_was_lost_is_left_to_its_new_holder(engine: Engine, held: Lease) -> None:
    with capture_logs() as logged, LeaseKeeper(engine, held, lease_s=LEASE_S, deadline_s=60):
        with engine.begin() as connection:
            connection.execute(
                text("update revisions set token = token + 1, lease_until = now() + interval '1 hour'")
            )
        until(lambda: bool(logged))
    with engine.begin() as connection:
        left = connection.execute(text("select lease_until > now() + interval '30 minutes' from revisions"))
        assert left.scalar_one()
    assert [entry["event"] for entry in logged] == ["lease_lost"]


def test_a_claim_that_its_holder_ended_is_not_told_to_be_lost(engine: Engine, held: Lease) -> None:
    with capture_logs() as logged, LeaseKeeper(engine, held, lease_s=LEASE_S, deadline_s=60):
        with engine.begin() as connection:
            assert leases.finish(connection, held, RevisionState.ANALYSED)
            _await_a_waiting_renewal(engine)
        time.sleep(LEASE_S / 2)
    assert logged == []


def _await_a_waiting_renewal(engine: Engine) -> None:
    """Until another transaction waits for the row that ours has changed."""
    waiting = text("select count(*) from pg_locks where not granted")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with engine.connect() as connection:
            if connection.execute(waiting).scalar_one():
                return
        time.sleep(0.01)
    raise AssertionError("no renewal came")


def _cut_off(database_url: str, for_s: float) -> None:
    """End every connection to the database and take no new one for a while."""
    url = make_url(database_url)
    admin = connect(url.set(database="postgres").render_as_string(hide_password=False))
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"alter database {url.database} allow_connections false"))
        connection.execute(
            text("select pg_terminate_backend(pid) from pg_stat_activity where datname = :name"),
            {"name": url.database},
        )
        time.sleep(for_s)
        connection.execute(text(f"alter database {url.database} allow_connections true"))
    admin.dispose()


def test_the_keeper_survives_a_database_that_is_away_for_a_moment(
    engine: Engine, database_url: str, held: Lease
) -> None:
    lease_s = 4 * LEASE_S
    with LeaseKeeper(engine, held, lease_s=lease_s, deadline_s=60):
        time.sleep(lease_s / 3)  # it has renewed once
        _cut_off(database_url, for_s=lease_s / 3)  # the next renewal fails
        time.sleep(lease_s)
        assert not _taken_over(engine, held)


def test_leaving_does_not_wait_for_the_next_renewal(engine: Engine, held: Lease) -> None:
    begun = time.monotonic()
    with LeaseKeeper(engine, held, lease_s=60, deadline_s=60):
        pass
    assert time.monotonic() - begun < 10  # the next one is due in 20 s
