"""``retry``: what was refused, given up or lost there waits again; what was replaced stays."""

import pytest
from sqlalchemy import Connection, Engine, select, text

from db.delivery import deliveries, destinations
from db.tables import Delivery, Event
from neurotriage.core.states import DeliveryState
from tests.db.rows import analysed, claimed, ready_revision, written

ENDED = (DeliveryState.REFUSED, DeliveryState.GIVEN_UP)


def _end(connection: Connection, state: DeliveryState, **values: object) -> None:
    connection.execute(Delivery.__table__.update().values(state=state, attempts=7, failures=4, **values))  # type: ignore[attr-defined]


def _states(connection: Connection) -> list[tuple[str, int, int]]:
    rows = connection.execute(
        select(Delivery.state, Delivery.attempts, Delivery.failures).order_by(Delivery.id)
    )
    return [(row.state, row.attempts, row.failures) for row in rows]


def _study(connection: Connection, number: int, *destinations: str, study: str = "1.2.3") -> int:
    held = claimed(connection, ready_revision(connection, number, study=study))
    analysed(connection, held, written(number, *destinations))
    return held.study_id


@pytest.mark.parametrize("state", ENDED)
def test_what_ended_badly_waits_again_with_all_its_tries(engine: Engine, state: DeliveryState) -> None:
    with engine.begin() as connection:
        _study(connection, 1, "pacs")
        _end(connection, state)
        assert deliveries.retry(connection) == 1
        assert _states(connection) == [("waiting", 0, 0)]
        assert len(deliveries.due(connection, "pacs")) == 1
        assert "delivery_retried" in connection.execute(select(Event.kind)).scalars().all()


def test_what_is_stored_stays_unless_it_got_lost_there(engine: Engine) -> None:
    with engine.begin() as connection:
        _study(connection, 1, "pacs")
        _end(connection, DeliveryState.STORED)
        assert deliveries.retry(connection) == 0
        connection.execute(text("update deliveries set alarmed_at = now(), resends = 2"))
        assert deliveries.retry(connection) == 1
        assert connection.execute(select(Delivery.resends)).scalars().all() == [0]


def test_what_waits_is_tried_at_once(engine: Engine) -> None:
    with engine.begin() as connection:
        _study(connection, 1, "pacs")
        connection.execute(text("update deliveries set next_try_at = now() + interval '1 hour'"))
        assert deliveries.due(connection, "pacs") == []
        assert deliveries.retry(connection) == 1
        assert len(deliveries.due(connection, "pacs")) == 1


def test_only_what_is_named_is_retried(engine: Engine) -> None:
    with engine.begin() as connection:
        first = _study(connection, 1, "pacs", "back/CT@10.0.0.1", "back%")
        _study(connection, 1, "pacs", study="1.2.4")
        _end(connection, DeliveryState.REFUSED)
        assert deliveries.retry(connection, study_ids=[first], destination="pacs") == 1
        assert deliveries.retry(connection, destination="back") == 1
        assert deliveries.retry(connection, destination="b") == 0
        assert deliveries.retry(connection, study_ids=[]) == 0
        assert deliveries.retry(connection) == 4


def test_a_replaced_result_is_never_retried(engine: Engine) -> None:
    with engine.begin() as connection:
        _study(connection, 1, "pacs")
        _study(connection, 2, "pacs")
        assert _states(connection)[0][0] == "given_up"
        assert deliveries.retry(connection, destination="pacs") == 1
        assert [due.sop_instance_uid for due in deliveries.due(connection, "pacs")] == ["2.25.2"]


def test_what_is_under_way_when_a_newer_revision_comes_is_cancelled(engine: Engine) -> None:
    with engine.begin() as connection:
        _study(connection, 1, "pacs")
        right = destinations.take(connection, "pacs", owner="w", lease_s=60)
        assert right is not None
        (sending,) = deliveries.due(connection, "pacs")
        assert deliveries.begin(connection, right, sending.id)
        _study(connection, 2, "pacs")
        assert deliveries.settle(connection, right, sending, DeliveryState.WAITING, "no answer")
        assert [due.sop_instance_uid for due in deliveries.due(connection, "pacs")] == ["2.25.2"]
        assert not deliveries.begin(connection, right, sending.id)
