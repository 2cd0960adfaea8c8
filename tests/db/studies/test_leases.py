"""Leases with a fencing token."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import Engine, select

from db.studies import analyses, leases
from db.tables import Event, Revision
from neurotriage.core.states import RevisionState
from tests.db.rows import NOW, analysis, claimed, event_kinds, expire_leases, ready_revision


def _expire(engine: Engine) -> None:
    with engine.begin() as connection:
        expire_leases(connection)


def _state(engine: Engine, revision_id: int) -> str:
    with engine.connect() as connection:
        return connection.execute(select(Revision.state).where(Revision.id == revision_id)).scalar_one()


def test_a_revision_is_claimed_by_one_worker_only(engine: Engine) -> None:
    with engine.begin() as connection:
        revision_id = ready_revision(connection)
        claimed(connection, revision_id)
        assert leases.claim(connection, revision_id, owner="w2", lease_s=60) is None


def test_a_dead_lease_can_be_taken_over_and_the_old_holder_changes_nothing(engine: Engine) -> None:
    with engine.begin() as connection:
        revision_id = ready_revision(connection)
        old = claimed(connection, revision_id)
    _expire(engine)
    with engine.begin() as connection:
        new = claimed(connection, revision_id, owner="w2")
        assert (new.attempt, new.token) == (2, old.token + 1)
        assert not leases.renew(connection, old, lease_s=60)
        assert not leases.give_back(connection, old, "late")
        assert not analyses.record_analysis(connection, old, analysis(), NOW, ())
        assert analyses.record_analysis(connection, new, analysis(), NOW, ())
    assert _state(engine, revision_id) == RevisionState.ANALYSED


def test_a_failed_attempt_leaves_its_error_and_another_may_try(engine: Engine) -> None:
    with engine.begin() as connection:
        revision_id = ready_revision(connection)
        held = claimed(connection, revision_id)
        assert leases.give_back(connection, held, "Traceback\nValueError: broken")
    with engine.begin() as connection:
        assert claimed(connection, revision_id).attempt == 2
        error = connection.execute(select(Revision.last_error)).scalar_one()
        assert "ValueError: broken" in error


def test_where_the_surroundings_failed_nobody_tries_again_before_the_time(engine: Engine) -> None:
    with engine.begin() as connection:
        revision_id = ready_revision(connection)
        held = claimed(connection, revision_id)
        assert leases.give_back(connection, held, "OSError: no space", retry_in_s=600)
    with engine.begin() as connection:
        assert leases.claim(connection, revision_id, owner="w2", lease_s=60) is None
    _expire(engine)
    with engine.begin() as connection:
        assert claimed(connection, revision_id).attempt == 2


def test_used_up_attempts_end_failed_and_others_stay(engine: Engine) -> None:
    with engine.begin() as connection:
        poison = ready_revision(connection, 1, study="1.2.3")
        healthy = ready_revision(connection, 1, study="1.2.4")
        for _ in range(4):
            leases.give_back(connection, claimed(connection, poison), "crash")
        assert leases.fail_abandoned(connection, attempts=4) == 1
    assert _state(engine, poison) == RevisionState.FAILED
    assert _state(engine, healthy) == RevisionState.READY


def test_of_many_workers_that_claim_a_revision_at_once_one_gets_it(engine: Engine) -> None:
    with engine.begin() as connection:
        revision_id = ready_revision(connection)
    together = Barrier(4)

    def claim(number: int) -> bool:
        together.wait(10)
        with engine.begin() as connection:
            return leases.claim(connection, revision_id, owner=f"w{number}", lease_s=60) is not None

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(claim, range(4))) == 1
    with engine.connect() as connection:
        assert connection.execute(select(Revision.attempt, Revision.token)).one() == (1, 1)


@pytest.mark.parametrize("state", [RevisionState.ANALYSED, RevisionState.UNCHANGED, RevisionState.FAILED])
def test_a_revision_that_ended_is_neither_claimed_nor_ended_again(
    engine: Engine, state: RevisionState
) -> None:
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection))
        assert leases.finish(connection, held, state)
        assert leases.claim(connection, held.revision_id, owner="w2", lease_s=60) is None
        assert not leases.finish(connection, held, RevisionState.FAILED)
        assert not leases.renew(connection, held, lease_s=60)
        assert not leases.give_back(connection, held, "late")
        assert event_kinds(connection)[-1] == state
    assert _state(engine, held.revision_id) == state


def test_a_revision_that_does_not_exist_is_claimed_by_nobody(engine: Engine) -> None:
    with engine.begin() as connection:
        assert leases.claim(connection, 1, owner="w1", lease_s=60) is None


def test_a_lease_that_ran_out_is_renewed_as_long_as_nobody_took_it(engine: Engine) -> None:
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection))
    _expire(engine)
    with engine.begin() as connection:
        assert not leases.is_lost(connection, held)
        assert leases.renew(connection, held, lease_s=60)
        assert leases.claim(connection, held.revision_id, owner="w2", lease_s=60) is None
    _expire(engine)
    with engine.begin() as connection:
        claimed(connection, held.revision_id, owner="w2")
        assert leases.is_lost(connection, held)


def test_the_lease_of_one_revision_is_no_right_to_another(engine: Engine) -> None:
    with engine.begin() as connection:
        first = claimed(connection, ready_revision(connection, 1))
        second = claimed(connection, ready_revision(connection, 1, study="1.2.4"))
        assert first.token == second.token
        assert leases.finish(connection, first, RevisionState.ANALYSED)
    assert _state(engine, second.revision_id) == RevisionState.ANALYSING


def test_what_is_given_back_at_once_has_no_owner_and_no_lease(engine: Engine) -> None:
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection))
        leases.give_back(connection, held, "broken")
        row = connection.execute(select(Revision.state, Revision.owner, Revision.lease_until)).one()
        assert tuple(row) == ("ready", None, None)
        assert not leases.renew(connection, held, lease_s=60)


@pytest.mark.parametrize(
    ("error", "last_line"),
    [
        ("Traceback\n  File x\nValueError: broken\n", "ValueError: broken"),
        ("", ""),
        ("\n \n", ""),
        ("x" * 300, "x" * 200),
    ],
)
def test_the_event_of_a_failed_attempt_has_the_last_line_of_its_error(
    engine: Engine, error: str, last_line: str
) -> None:
    with engine.begin() as connection:
        leases.give_back(connection, claimed(connection, ready_revision(connection)), error)
        detail = connection.execute(select(Event.detail).where(Event.kind == "attempt_failed")).scalar_one()
        assert detail == {"attempt": 1, "error": last_line}


def test_of_a_long_error_the_end_is_kept(engine: Engine) -> None:
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection))
        leases.give_back(connection, held, "x" * 9000 + "the end")
        error = connection.execute(select(Revision.last_error)).scalar_one()
    assert error is not None
    assert (len(error), error[-7:]) == (8000, "the end")


def test_a_worker_that_lives_keeps_its_last_attempt(engine: Engine) -> None:
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection))
        assert leases.fail_abandoned(connection, attempts=1) == 0
        expire_leases(connection)
        assert leases.fail_abandoned(connection, attempts=2) == 0
        assert leases.fail_abandoned(connection, attempts=1) == 1
        assert leases.fail_abandoned(connection, attempts=1) == 0
        assert not leases.finish(connection, held, RevisionState.ANALYSED)
        assert event_kinds(connection)[-1] == "failed"
