"""Leases with a fencing token."""

from sqlalchemy import Engine, select, text

from db import sweep
from db.studies import analyses, leases
from db.tables import Revision
from neurotriage.core.states import RevisionState
from tests.db.rows import NOW, analysis, claimed, ready_revision


def _expire(engine: Engine, revision_id: int) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("update revisions set lease_until = now() - interval '1 second' where id = :id"),
            {"id": revision_id},
        )


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
    _expire(engine, revision_id)
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
    _expire(engine, revision_id)
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


def test_the_sweep_rings_what_waits_and_what_lost_its_worker_but_not_too_often(engine: Engine) -> None:
    with engine.begin() as connection:
        waiting = ready_revision(connection, 1, study="1.2.3")
        working = ready_revision(connection, 1, study="1.2.4")
        claimed(connection, working)
    with engine.begin() as connection:
        assert sweep.revisions_to_ring(connection, every_s=60) == [waiting]
        assert sweep.revisions_to_ring(connection, every_s=60) == []
    _expire(engine, working)
    with engine.begin() as connection:
        assert sweep.revisions_to_ring(connection, every_s=0) == [waiting, working]


def test_one_process_sweeps_at_a_time(engine: Engine) -> None:
    with engine.begin() as first, engine.begin() as second:
        assert sweep.try_lock(first)
        assert not sweep.try_lock(second)
