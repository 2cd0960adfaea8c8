"""Deliveries: sent in order, settled by the holder of the right alone, never after they were cancelled."""

from typing import Any

import pytest
from sqlalchemy import Connection, Engine, Row, select, text

from db.delivery import deliveries, destinations
from db.delivery.deliveries import DueDelivery
from db.delivery.destinations import SendingRight
from db.studies.instances import record_instances
from db.tables import Delivery, Event
from neurotriage.core.states import DeliveryState
from tests.db.rows import (
    RECEPTION,
    analysed,
    claimed,
    event_kinds,
    expire_leases,
    header,
    ready_revision,
    sending_right,
    written,
)


def test_a_sender_that_lost_its_right_begins_and_settles_nothing(engine: Engine) -> None:
    with engine.begin() as connection:
        analysed(connection, claimed(connection, ready_revision(connection)), written(1, "pacs"))
        lost = destinations.take(connection, "pacs", owner="w1", lease_s=60)
        assert lost is not None
    with engine.begin() as connection:
        connection.execute(text("update destination_leases set lease_until = now() - interval '1 second'"))
    with engine.begin() as connection:
        (due,) = deliveries.due(connection, "pacs")
        assert not deliveries.begin(connection, lost, due.id)
        right = destinations.take(connection, "pacs", owner="w2", lease_s=60)
        assert right is not None
        assert deliveries.begin(connection, right, due.id)
        assert not deliveries.settle(connection, lost, due, DeliveryState.STORED, "late")
        assert deliveries.settle(connection, right, due, DeliveryState.STORED, "stored")


def test_what_must_wait_is_due_later(engine: Engine) -> None:
    with engine.begin() as connection:
        analysed(connection, claimed(connection, ready_revision(connection)), written(1, "pacs"))
        right = destinations.take(connection, "pacs", owner="w1", lease_s=60)
        assert right is not None
        (due,) = deliveries.due(connection, "pacs")
        deliveries.begin(connection, right, due.id)
        deliveries.settle(connection, right, due, DeliveryState.WAITING, "no answer", retry_in_s=600)
    with engine.begin() as connection:
        assert deliveries.due(connection, "pacs") == []
        status = connection.execute(select(Delivery.last_status, Delivery.attempts)).one()
        assert tuple(status) == ("no answer", 1)


def test_a_newer_revision_cancels_what_the_older_one_has_not_sent(engine: Engine) -> None:
    with engine.begin() as connection:
        first = ready_revision(connection, 1, 2)
        analysed(connection, claimed(connection, first), written(1, "pacs"))
    with engine.begin() as connection:
        second = ready_revision(connection, 3)
        analysed(connection, claimed(connection, second), written(2, "pacs"))
    with engine.begin() as connection:
        states = connection.execute(select(Delivery.state).order_by(Delivery.id)).scalars().all()
        assert states == [DeliveryState.GIVEN_UP, DeliveryState.WAITING]
        kinds = connection.execute(select(Event.kind)).scalars().all()
        assert "deliveries_cancelled" in kinds


def test_an_older_revision_that_ends_late_sends_nothing(engine: Engine) -> None:
    with engine.begin() as connection:
        old = claimed(connection, ready_revision(connection, 1))
        record_instances(connection, [(header(2), RECEPTION)])
        new = claimed(connection, ready_revision(connection, 2))
        analysed(connection, new, written(2, "pacs"))
        analysed(connection, old, written(1, "pacs"))
        assert [due.sop_instance_uid for due in deliveries.due(connection, "pacs")] == ["2.25.2"]


def _two_studies(connection: Connection) -> None:
    """The second of them is received first and analysed last."""
    second = ready_revision(connection, 1, study="1.2.4")
    first = ready_revision(connection, 1, study="1.2.3")
    analysed(connection, claimed(connection, first), written(1, "pacs"), written(2, "pacs", "archive"))
    analysed(connection, claimed(connection, second), written(3, "pacs"), written(4, "pacs/CT1@h"))


def test_what_is_due_comes_study_by_study_in_the_order_of_analysis(engine: Engine) -> None:
    with engine.begin() as connection:
        _two_studies(connection)
        due = deliveries.due(connection, "pacs")
        assert [(item.study_instance_uid, item.sop_instance_uid) for item in due] == [
            ("1.2.3", "2.25.1"),
            ("1.2.3", "2.25.2"),
            ("1.2.4", "2.25.3"),
        ]
        assert deliveries.due(connection, "pacs", limit=2) == due[:2]


def test_what_is_due_at_a_destination_is_its_own_and_not_that_of_a_peer_behind_its_name(
    engine: Engine,
) -> None:
    with engine.begin() as connection:
        _two_studies(connection)
        for destination, uids in (("archive", ["2.25.2"]), ("pacs/CT1@h", ["2.25.4"]), ("pac", [])):
            due = deliveries.due(connection, destination)
            assert [item.sop_instance_uid for item in due] == uids


@pytest.mark.parametrize("state", [DeliveryState.STORED, DeliveryState.REFUSED, DeliveryState.GIVEN_UP])
def test_what_has_ended_is_not_begun_again(engine: Engine, state: DeliveryState) -> None:
    with engine.begin() as connection:
        analysed(connection, claimed(connection, ready_revision(connection)), written(1, "pacs"))
        right = sending_right(connection)
        (due,) = deliveries.due(connection, "pacs")
        connection.execute(text("update deliveries set state = :state"), {"state": state})
        assert not deliveries.begin(connection, right, due.id)
        assert connection.execute(select(Delivery.attempts)).scalar_one() == 0


def test_a_right_for_one_destination_settles_nothing_after_another_process_took_it(engine: Engine) -> None:
    with engine.begin() as connection:
        analysed(connection, claimed(connection, ready_revision(connection)), written(1, "pacs"))
        before = sending_right(connection, owner="w1")
        (due,) = deliveries.due(connection, "pacs")
        assert deliveries.begin(connection, before, due.id)
        expire_leases(connection)
        sending_right(connection, owner="w2")
        for state in DeliveryState:
            assert not deliveries.settle(connection, before, due, state, "late")
        assert tuple(connection.execute(select(Delivery.state, Delivery.last_status)).one()) == (
            "sending",
            "",
        )


def test_whether_an_object_was_sent_before_is_known_also_after_a_retry(engine: Engine) -> None:
    with engine.begin() as connection:
        analysed(connection, claimed(connection, ready_revision(connection)), written(1, "pacs"))
        right = sending_right(connection)
        (due,) = deliveries.due(connection, "pacs")
        assert not due.tried
        deliveries.begin(connection, right, due.id)
        (due,) = deliveries.due(connection, "pacs")
        assert due.tried
        deliveries.settle(connection, right, due, DeliveryState.REFUSED, "refused")
        assert deliveries.retry(connection) == 1
        (due,) = deliveries.due(connection, "pacs")
        assert (due.attempts, due.tried) == (0, True)


def _begun(connection: Connection) -> tuple[SendingRight, DueDelivery]:
    analysed(connection, claimed(connection, ready_revision(connection)), written(1, "pacs"))
    right = sending_right(connection)
    (due,) = deliveries.due(connection, "pacs")
    assert deliveries.begin(connection, right, due.id)
    return right, due


def _delivery(connection: Connection) -> Row[Any]:
    return connection.execute(select(Delivery.__table__)).one()


@pytest.mark.parametrize("prove", [False, True])
def test_a_proof_is_due_at_once_where_one_is_wanted(engine: Engine, prove: bool) -> None:
    with engine.begin() as connection:
        right, due = _begun(connection)
        deliveries.settle(connection, right, due, DeliveryState.STORED, "stored", prove=prove)
        row = _delivery(connection)
        assert (row.state, row.stored_at is None, row.proof_due_at is None) == ("stored", False, not prove)
        assert event_kinds(connection)[-1] == "stored"


def test_an_answer_is_kept_in_our_words_up_to_a_length_and_in_those_of_the_destination(
    engine: Engine,
) -> None:
    with engine.begin() as connection:
        right, due = _begun(connection)
        deliveries.settle(
            connection, right, due, DeliveryState.REFUSED, "x" * 600, failures=3, comment="no such patient"
        )
        row = _delivery(connection)
        assert (len(row.last_status), row.comment, row.failures) == (500, "no such patient", 3)
        assert event_kinds(connection)[-1] == "refused"


def test_what_waits_for_another_try_is_no_event(engine: Engine) -> None:
    with engine.begin() as connection:
        right, due = _begun(connection)
        deliveries.settle(connection, right, due, DeliveryState.WAITING, "no answer")
        assert event_kinds(connection)[-1] == "analysed"


@pytest.mark.parametrize("resends", [0, 1])
def test_success_ends_an_alarm_unless_the_object_got_lost_before(engine: Engine, resends: int) -> None:
    with engine.begin() as connection:
        right, due = _begun(connection)
        connection.execute(text("update deliveries set alarmed_at = now(), resends = :n"), {"n": resends})
        deliveries.settle(connection, right, due, DeliveryState.STORED, "stored")
        assert (_delivery(connection).alarmed_at is not None) == (resends > 0)


def test_what_arrived_although_it_was_cancelled_is_stored(engine: Engine) -> None:
    with engine.begin() as connection:
        right, due = _begun(connection)
        analysed(connection, claimed(connection, ready_revision(connection, 3)), written(2))
        assert _delivery(connection).state == DeliveryState.GIVEN_UP
        assert deliveries.settle(connection, right, due, DeliveryState.STORED, "stored")
        assert _delivery(connection).state == DeliveryState.STORED
