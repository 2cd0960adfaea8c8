"""An alarm is raised once for what has waited for long, and says why."""

from sqlalchemy import Connection, Engine, select, text

from db.delivery import deliveries
from db.delivery.deliveries import Alarm
from db.tables import Delivery, Event
from tests.db.rows import analysed, claimed, ready_revision, written

HOUR_S = 3600.0


def _waiting(connection: Connection, number: int, *names: str, study: str = "1.2.3") -> int:
    """An object that has waited for two hours, with the answer ``no answer``; the id of its study."""
    held = claimed(connection, ready_revision(connection, number, study=study))
    analysed(connection, held, written(number, *names))
    connection.execute(
        text(
            "update deliveries set waiting_since = now() - interval '2 hours', last_status = 'no answer' "
            "where alarmed_at is null"
        )
    )
    return held.study_id


def _alarms(connection: Connection, after_s: float = HOUR_S) -> list[Alarm]:
    return deliveries.alarm(connection, "pacs", deliveries.due(connection, "pacs"), after_s=after_s)


def test_an_alarm_is_raised_once(engine: Engine) -> None:
    with engine.begin() as connection:
        _waiting(connection, 1, "pacs")
        assert _alarms(connection) == [Alarm("no answer", 1, fresh=True)]
        assert _alarms(connection) == []


def test_nothing_is_raised_before_its_time(engine: Engine) -> None:
    with engine.begin() as connection:
        _waiting(connection, 1, "pacs")
        assert _alarms(connection, after_s=3 * HOUR_S) == []
        assert _alarms(connection, after_s=HOUR_S) != []


def test_another_destination_is_left_alone(engine: Engine) -> None:
    with engine.begin() as connection:
        _waiting(connection, 1, "pacs", "other")
        objects = deliveries.due(connection, "pacs") + deliveries.due(connection, "other")
        deliveries.alarm(connection, "pacs", objects, after_s=HOUR_S)
        raised = connection.execute(select(Delivery.destination).where(Delivery.alarmed_at.is_not(None)))
        assert raised.scalars().all() == ["pacs"]


def test_only_the_deliveries_that_are_named_are_raised_for(engine: Engine) -> None:
    with engine.begin() as connection:
        _waiting(connection, 1, "pacs")
        _waiting(connection, 1, "pacs", study="1.2.4")
        first, second = deliveries.due(connection, "pacs")
        assert len(deliveries.alarm(connection, "pacs", [second], after_s=HOUR_S)) == 1
        alarmed = connection.execute(select(Delivery.id).where(Delivery.alarmed_at.is_not(None))).scalars()
        assert alarmed.all() == [second.id]
        assert deliveries.alarm(connection, "pacs", [], after_s=HOUR_S) == []
        assert first.id != second.id


def test_a_cause_that_is_known_at_the_destination_is_not_fresh(engine: Engine) -> None:
    with engine.begin() as connection:
        _waiting(connection, 1, "pacs")
        _alarms(connection)
        _waiting(connection, 1, "pacs", study="1.2.4")
        assert _alarms(connection) == [Alarm("no answer", 1, fresh=False)]
        _waiting(connection, 1, "pacs", study="1.2.5")
        connection.execute(text("update deliveries set last_status = 'full' where alarmed_at is null"))
        assert _alarms(connection) == [Alarm("full", 1, fresh=True)]


def test_an_event_is_recorded_per_study_and_cause(engine: Engine) -> None:
    with engine.begin() as connection:
        first = _waiting(connection, 1, "pacs")
        held = claimed(connection, ready_revision(connection, 1, study="1.2.4"))
        analysed(connection, held, written(2, "pacs"), written(3, "pacs"), written(4, "pacs"))
        connection.execute(text("update deliveries set waiting_since = now() - interval '2 hours'"))
        newest = "(select max(id) from deliveries)"
        connection.execute(text(f"update deliveries set last_status = 'full' where id = {newest}"))  # noqa: S608
        raised = _alarms(connection)
        events = connection.execute(
            select(Event.study_id, Event.detail).where(Event.kind == "delivery_alarm").order_by(Event.id)
        ).all()
    causes = sorted((alarm.status, alarm.objects) for alarm in raised)
    assert causes == [("", 2), ("full", 1), ("no answer", 1)]
    counts = sorted((event.study_id, event.detail["status"], event.detail["objects"]) for event in events)
    assert counts == [(first, "no answer", 1), (held.study_id, "", 2), (held.study_id, "full", 1)]
