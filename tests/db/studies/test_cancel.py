"""What somebody cancels is not analysed or sent; what is held waits for somebody who releases it."""

from dataclasses import replace

import pytest
from sqlalchemy import Connection, Engine, text

from db.corrections import identity
from db.delivery import deliveries
from db.delivery.release import release
from db.studies import assembly, leases, recall, repeat
from db.studies.cancel import cancel, what_follows
from neurotriage.core.patient import PatientIdentity
from neurotriage.core.states import DeliveryState
from tests.db.rows import (
    analysed,
    claimed,
    event_kinds,
    ready_revision,
    receive,
    rejection,
    sending_right,
    stored,
    written,
)


def _study_id(connection: Connection, study: str = "1.2.3") -> int:
    statement = text("select id from studies where study_instance_uid = :uid")
    return int(connection.execute(statement, {"uid": study}).scalar_one())


def _states(connection: Connection) -> list[str]:
    return list(connection.execute(text("select state from deliveries order by id")).scalars())


def test_a_revision_that_waits_is_not_analysed(engine: Engine) -> None:
    with engine.begin() as connection:
        ready_revision(connection, 1, study="1.2.3")
        other = ready_revision(connection, 1, study="1.2.4")
        assert cancel(connection, _study_id(connection), made_by="test", reason="phantom") == (1, 0)
        held = leases.claim_next(connection, owner="w", lease_s=60, attempts=3)
        assert held is not None
        assert held.revision_id == other
        assert event_kinds(connection).count("cancelled") == 1


def test_a_worker_that_has_it_loses_it(engine: Engine) -> None:
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection, study="1.2.3"))
        assert cancel(connection, _study_id(connection), made_by="test", reason="") == (1, 0)
        assert not leases.renew(connection, held, lease_s=60)
        assert leases.is_lost(connection, held)


def test_the_same_images_again_change_nothing_and_further_ones_are_analysed(engine: Engine) -> None:
    with engine.begin() as connection:
        ready_revision(connection, 1, study="1.2.3")
        cancel(connection, _study_id(connection), made_by="test", reason="")
    with engine.begin() as connection:
        receive(connection, 1, study="1.2.3")
        assert leases.claim_next(connection, owner="w", lease_s=60, attempts=3) is None
        more = ready_revision(connection, 1, 2, study="1.2.3")
        held = leases.claim_next(connection, owner="w", lease_s=60, attempts=3)
        assert held is not None
        assert held.revision_id == more


def test_results_that_wait_or_are_held_are_not_sent_but_rejection_notes_are(engine: Engine) -> None:
    with engine.begin() as connection:
        held = replace(written(1, "pacs", "other"), held=frozenset({"other"}))
        analysed(
            connection,
            claimed(connection, ready_revision(connection, study="1.2.3")),
            held,
            rejection(2, "pacs"),
        )
        assert _states(connection) == ["waiting", "held", "waiting"]
        assert cancel(connection, _study_id(connection), made_by="test", reason="phantom") == (0, 2)
        assert _states(connection) == ["given_up", "given_up", "waiting"]
        said = connection.execute(text("select last_status from deliveries order by id")).scalars().first()
        assert said == "cancelled by test: phantom"
        assert cancel(connection, _study_id(connection), made_by="test", reason="") == (0, 0)


@pytest.mark.parametrize("ends", [DeliveryState.STORED, DeliveryState.WAITING])
def test_an_object_on_its_way_arrives_or_is_not_tried_again(engine: Engine, ends: DeliveryState) -> None:
    with engine.begin() as connection:
        analysed(
            connection, claimed(connection, ready_revision(connection, study="1.2.3")), written(1, "pacs")
        )
        right = sending_right(connection)
        (item,) = deliveries.due(connection, "pacs")
        assert deliveries.begin(connection, right, item.id)
        assert cancel(connection, _study_id(connection), made_by="test", reason="") == (0, 1)
        assert deliveries.due(connection, "pacs") == []  # also where its sender was killed
        assert deliveries.settle(connection, right, item, ends, "its answer")
        arrived = ends is DeliveryState.STORED
        assert _states(connection) == ["stored" if arrived else "given_up"]
        assert deliveries.due(connection, "pacs") == []


def test_what_was_cancelled_is_sent_again_only_where_its_study_is_named(engine: Engine) -> None:
    with engine.begin() as connection:
        held = replace(written(1, "pacs", "other"), held=frozenset({"other"}))
        analysed(connection, claimed(connection, ready_revision(connection, study="1.2.3")), held)
        cancel(connection, _study_id(connection), made_by="test", reason="phantom")
        assert deliveries.retry(connection) == 0
        assert deliveries.retry(connection, destination="other") == 0
        assert _states(connection) == ["given_up", "given_up"]
        assert deliveries.retry(connection, study_ids=[_study_id(connection)], destination="pacs") == 1
        assert deliveries.retry(connection) == 1  # it waits, as others do
        assert _states(connection) == ["waiting", "given_up"]


def test_what_is_held_is_not_due_until_it_is_released(engine: Engine) -> None:
    with engine.begin() as connection:
        for study in ("1.2.3", "1.2.4"):
            own = replace(written(int(study[-1]), "pacs", "other"), held=frozenset({"pacs"}))
            analysed(connection, claimed(connection, ready_revision(connection, study=study)), own)
        assert (deliveries.due(connection, "pacs"), len(deliveries.due(connection, "other"))) == ([], 2)
        assert deliveries.retry(connection) == 2  # those to the other
        assert deliveries.due(connection, "pacs") == []
        first = [_study_id(connection)]
        assert release(connection, study_ids=first, destination="other", made_by="test") == 0
        assert release(connection, study_ids=first, destination="pacs", made_by="test") == 1
        assert len(deliveries.due(connection, "pacs")) == 1
        assert release(connection, study_ids=None, destination=None, made_by="test") == 1
        assert len(deliveries.due(connection, "pacs")) == 2
        assert event_kinds(connection).count("released") == 2


def test_results_that_are_held_are_given_up_where_newer_ones_take_their_place(engine: Engine) -> None:
    with engine.begin() as connection:
        for number in (1, 2):
            own = replace(written(number, "pacs"), held=frozenset({"pacs"}))
            analysed(connection, claimed(connection, ready_revision(connection, number, study="1.2.3")), own)
        assert _states(connection) == ["given_up", "held"]


def test_held_results_count_as_waiting(engine: Engine) -> None:
    with engine.begin() as connection:
        own = replace(written(1, "pacs"), held=frozenset({"pacs"}))
        analysed(connection, claimed(connection, ready_revision(connection, study="1.2.3")), own)
        assert connection.execute(text("select deliveries_waiting from study_results")).scalar_one() == 1


@pytest.mark.parametrize("by", ["correction", "recall"])
def test_a_revision_that_takes_back_what_was_sent_is_made_all_the_same(engine: Engine, by: str) -> None:
    with engine.begin() as connection:
        analysed(
            connection, claimed(connection, ready_revision(connection, study="1.2.3")), written(1, "pacs")
        )
        stored(connection, sending_right(connection))
        study_id = _study_id(connection)
        assert what_follows(connection, study_id) == ""
        if by == "recall":
            assert recall.analyse_again(connection, study_id, "model", "1")
        else:
            identity.correct(connection, study_id, PatientIdentity("B"), made_by="test", reason="")
            assert assembly.freeze(connection, study_id, idle_s=0, completed_by="quiet")
        assert cancel(connection, study_id, made_by="test", reason="") == (0, 0)
        assert "takes back what was sent" in what_follows(connection, study_id)
        assert leases.claim_next(connection, owner="w", lease_s=60, attempts=3) is not None


def test_what_was_said_before_stands_where_the_next_revision_is_cancelled(engine: Engine) -> None:
    with engine.begin() as connection:
        lease = claimed(connection, ready_revision(connection, 1, study="1.2.3"))
        analysed(connection, lease, written(1, "pacs"))
        ready_revision(connection, 2, study="1.2.3")
        cancel(connection, _study_id(connection), made_by="test", reason="")
        row = connection.execute(text("select state, outcome, revision from study_results")).one()
        assert tuple(row) == ("analysed", "present", 1)


def test_a_cancelled_study_is_not_analysed_again_with_all_others(engine: Engine) -> None:
    with engine.begin() as connection:
        for study in ("1.2.3", "1.2.4"):
            ready_revision(connection, 1, study=study)
        cancel(connection, _study_id(connection), made_by="test", reason="")
        found, total = repeat.candidates(connection, failed=False, since=None, limit=9)
        assert (found, total) == ([_study_id(connection, "1.2.4")], 1)
