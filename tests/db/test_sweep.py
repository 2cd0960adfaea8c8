"""The sweep rings for work that has no worker, and for nothing else."""

import pytest
from sqlalchemy import Engine, select, text

from db import sweep
from db.delivery import deliveries, destinations, proof
from db.studies import leases, priority
from db.tables import DestinationLease
from neurotriage.core.priority import Priority
from neurotriage.core.states import RevisionState
from tests.db.rows import (
    analysed,
    claimed,
    expire_leases,
    ready_revision,
    sending_right,
    stored,
    written,
)


def test_the_sweep_rings_what_waits_and_what_lost_its_worker_but_not_too_often(engine: Engine) -> None:
    with engine.begin() as connection:
        waiting = ready_revision(connection, 1, study="1.2.3")
        working = ready_revision(connection, 1, study="1.2.4")
        claimed(connection, working)
    with engine.begin() as connection:
        assert sweep.revisions_to_ring(connection, every_s=60) == [waiting]
        assert sweep.revisions_to_ring(connection, every_s=60) == []
    with engine.begin() as connection:
        expire_leases(connection)
        assert sweep.revisions_to_ring(connection, every_s=0) == [waiting, working]


def test_one_process_sweeps_at_a_time(engine: Engine) -> None:
    with engine.begin() as first, engine.begin() as second:
        assert sweep.try_lock(first)
        assert not sweep.try_lock(second)


def test_a_destination_with_something_to_prove_is_rung_for(engine: Engine) -> None:
    with engine.begin() as connection:
        analysed(connection, claimed(connection, ready_revision(connection)), written(1, "pacs"))
        right = sending_right(connection)
        stored(connection, right)
        destinations.release(connection, right)
        assert sweep.destinations_to_ring(connection, every_s=0) == ["pacs"]
        connection.execute(text("update deliveries set proof_due_at = now() + interval '1 hour'"))
        assert sweep.destinations_to_ring(connection, every_s=0) == []


def test_the_next_sweep_begins_when_the_one_before_has_ended(engine: Engine) -> None:
    with engine.begin() as connection:
        assert sweep.try_lock(connection)
        assert sweep.try_lock(connection)  # it is ours already
    with engine.begin() as connection:
        assert sweep.try_lock(connection)


@pytest.mark.parametrize("state", [RevisionState.ANALYSED, RevisionState.UNCHANGED, RevisionState.FAILED])
def test_a_revision_that_ended_is_never_rung_for(engine: Engine, state: RevisionState) -> None:
    with engine.begin() as connection:
        leases.finish(connection, claimed(connection, ready_revision(connection)), state)
        connection.execute(text("update revisions set rung_at = null"))
        assert sweep.revisions_to_ring(connection, every_s=0) == []


def test_a_revision_that_is_given_back_for_later_is_not_rung_for_before(engine: Engine) -> None:
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection))
        assert leases.give_back(connection, held, "no space", retry_in_s=600)
        assert sweep.revisions_to_ring(connection, every_s=0) == []
        expire_leases(connection)
        assert sweep.revisions_to_ring(connection, every_s=0) == [held.revision_id]


def test_only_destinations_that_nobody_sends_to_are_rung_for(engine: Engine) -> None:
    with engine.begin() as connection:
        objects = written(1, "busy", "dead", "free")
        analysed(connection, claimed(connection, ready_revision(connection)), objects)
        sending_right(connection, "dead")
        expire_leases(connection)
        sending_right(connection, "busy")
        assert sweep.destinations_to_ring(connection, every_s=0) == ["dead", "free"]
        known = connection.execute(select(DestinationLease.destination)).scalars()
        assert sorted(known) == ["busy", "dead", "free"]


def test_destinations_with_urgent_results_are_rung_for_first(engine: Engine) -> None:
    with engine.begin() as connection:
        for number, (study, name, of) in enumerate(
            [
                ("1.2.3", "a", Priority.BACKLOG),
                ("1.2.4", "b", Priority.ROUTINE),
                ("1.2.5", "c", Priority.URGENT),
            ]
        ):
            held = claimed(connection, ready_revision(connection, study=study))
            analysed(connection, held, written(number, name, "every"))
            priority.prioritise(connection, held.study_id, of)
        assert sweep.destinations_to_ring(connection, every_s=0) == ["c", "every", "b", "a"]
        assert sweep.destinations_to_ring(connection, every_s=0, urgent_only=True) == ["c", "every"]
        connection.execute(text("update deliveries set state = 'stored', proof_due_at = now()"))
        assert sweep.destinations_to_ring(connection, every_s=0) == ["c", "every", "b", "a"]


def test_what_a_dead_sender_was_sending_is_rung_for(engine: Engine) -> None:
    with engine.begin() as connection:
        analysed(connection, claimed(connection, ready_revision(connection)), written(1, "pacs"))
        right = sending_right(connection)
        (due,) = deliveries.due(connection, "pacs")
        assert deliveries.begin(connection, right, due.id)
        assert sweep.destinations_to_ring(connection, every_s=0) == []
        expire_leases(connection)
        assert sweep.destinations_to_ring(connection, every_s=0) == ["pacs"]


@pytest.mark.parametrize("state", ["stored", "refused", "given_up"])
def test_a_destination_with_nothing_left_to_do_is_not_rung_for(engine: Engine, state: str) -> None:
    with engine.begin() as connection:
        analysed(connection, claimed(connection, ready_revision(connection)), written(1, "pacs"))
        connection.execute(text("update deliveries set state = :state"), {"state": state})
        assert sweep.destinations_to_ring(connection, every_s=0) == []
        assert proof.due(connection, "pacs") == []


def test_a_destination_is_rung_for_once_in_a_while_and_not_before_a_try_is_due(engine: Engine) -> None:
    with engine.begin() as connection:
        analysed(connection, claimed(connection, ready_revision(connection)), written(1, "pacs"))
        assert sweep.destinations_to_ring(connection, every_s=60) == ["pacs"]
        assert sweep.destinations_to_ring(connection, every_s=60) == []
        connection.execute(text("update destination_leases set rung_at = now() - interval '61 seconds'"))
        assert sweep.destinations_to_ring(connection, every_s=60) == ["pacs"]
        connection.execute(text("update deliveries set next_try_at = now() + interval '1 hour'"))
        assert sweep.destinations_to_ring(connection, every_s=0) == []
