"""What is paused rests until it is resumed or its time is over, and nothing is lost."""

import pytest
from sqlalchemy import Engine, text

from db import pauses, sweep
from db.delivery import deliveries, destinations, proof
from db.studies import leases
from tests.db.rows import analysed, claimed, event_kinds, ready_revision, sending_right, stored, written

pytestmark = pytest.mark.usefixtures("engine")


def _pause(engine: Engine, name: str, for_s: float | None = None) -> None:
    with engine.begin() as connection:
        pauses.pause(connection, name, made_by="test", reason="maintenance", for_s=for_s)


def _let_time_pass(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("update pauses set until = until - interval '1 hour'"))


def test_while_analysis_rests_nobody_gets_a_revision_and_none_is_rung_for(engine: Engine) -> None:
    with engine.begin() as connection:
        waiting = ready_revision(connection)
    _pause(engine, pauses.ANALYSIS)
    with engine.begin() as connection:
        assert leases.claim_next(connection, owner="w", lease_s=60, attempts=3) is None
        assert sweep.revisions_to_ring(connection, every_s=0) == []
        assert pauses.resume(connection, pauses.ANALYSIS, made_by="test")
        assert sweep.revisions_to_ring(connection, every_s=0) == [waiting]
        held = leases.claim_next(connection, owner="w", lease_s=60, attempts=3)
        assert held is not None
        assert [kind for kind in event_kinds(connection) if kind in ("paused", "resumed")] == [
            "paused", "resumed",
        ]  # fmt: skip


def test_a_revision_in_work_is_ended_while_analysis_rests(engine: Engine) -> None:
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection))
    _pause(engine, pauses.ANALYSIS)
    with engine.begin() as connection:
        assert leases.renew(connection, held, lease_s=60)
        analysed(connection, held, written(1, "pacs"))
    with engine.begin() as connection:
        assert connection.execute(text("select state from revisions")).scalar_one() == "analysed"


@pytest.mark.parametrize("address", ["pacs", "pacs/CT1@10.0.0.1"])
def test_to_a_destination_that_rests_nothing_is_sent_or_asked(engine: Engine, address: str) -> None:
    with engine.begin() as connection:
        analysed(connection, claimed(connection, ready_revision(connection)), written(1, address, "other"))
        right = sending_right(connection, address)
    _pause(engine, "pacs")
    with engine.begin() as connection:
        (item,) = deliveries.deliveries(connection, deliveries.Delivery.destination == address)
        assert deliveries.due(connection, address) == []
        assert not deliveries.begin(connection, right, item.id)
        assert len(deliveries.due(connection, "other")) == 1
        destinations.release(connection, right)
        assert sweep.destinations_to_ring(connection, every_s=0) == ["other"]
        pauses.resume(connection, "pacs", made_by="test")
        assert sweep.destinations_to_ring(connection, every_s=0) == ["other", address]
        stored(connection, sending_right(connection, address))
    _pause(engine, "pacs")
    with engine.begin() as connection:
        assert proof.due(connection, address) == []
        pauses.resume(connection, "pacs", made_by="test")
        assert len(proof.due(connection, address)) == 1


def test_a_pause_with_an_end_ends_by_itself(engine: Engine) -> None:
    _pause(engine, pauses.ANALYSIS, for_s=1800)
    with engine.begin() as connection:
        ready_revision(connection)
        (standing,) = pauses.standing(connection)
        assert standing.until is not None
        assert (standing.name, standing.made_by, standing.reason) == ("analysis", "test", "maintenance")
    _let_time_pass(engine)
    with engine.begin() as connection:
        assert pauses.standing(connection) == ()
        assert leases.claim_next(connection, owner="w", lease_s=60, attempts=3) is not None
        assert not pauses.resume(connection, pauses.ANALYSIS, made_by="test")


def test_the_last_pause_counts(engine: Engine) -> None:
    _pause(engine, "pacs", for_s=60)
    _pause(engine, "pacs")
    with engine.connect() as connection:
        (standing,) = pauses.standing(connection)
    assert standing.until is None
