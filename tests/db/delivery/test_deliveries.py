"""Deliveries: one sender per destination, and a cancelled delivery is never sent."""

from sqlalchemy import Engine, select, text

from db.delivery import deliveries, destinations
from db.studies.instances import record_instances
from db.tables import Delivery, Event
from neurotriage.core.states import DeliveryState
from tests.db.rows import RECEPTION, analysed, claimed, header, ready_revision, written


def test_one_process_sends_to_a_destination(engine: Engine) -> None:
    with engine.begin() as connection:
        right = destinations.take(connection, "pacs", owner="w1", lease_s=60)
        assert right is not None
        assert destinations.take(connection, "pacs", owner="w2", lease_s=60) is None
        assert destinations.take(connection, "other", owner="w2", lease_s=60) is not None
        destinations.release(connection, right)
        assert destinations.take(connection, "pacs", owner="w2", lease_s=60) is not None


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
