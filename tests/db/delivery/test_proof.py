"""A proof is looked for until there is one, and what got lost is sent again, a bounded number of times."""

from typing import Any

import pytest
from sqlalchemy import Connection, Engine, Row, select, text

from db.delivery import deliveries, proof
from db.delivery.deliveries import DueDelivery
from db.delivery.destinations import SendingRight
from db.tables import Delivery, Event
from tests.db.rows import (
    analysed,
    claimed,
    event_kinds,
    expire_leases,
    ready_revision,
    rejection,
    sending_right,
    stored,
    written,
)


def _stored(connection: Connection, *numbers: int) -> tuple[SendingRight, list[DueDelivery]]:
    """Objects of one study that are stored at ``pacs`` and to be proven."""
    held = claimed(connection, ready_revision(connection))
    analysed(connection, held, *(written(number, "pacs") for number in numbers or (1,)))
    right = sending_right(connection)
    return right, stored(connection, right)


def _rows(connection: Connection) -> list[Row[Any]]:
    return list(connection.execute(select(Delivery.__table__).order_by(Delivery.id)))


def _due_s(connection: Connection, column: str) -> float:
    question = f"select extract(epoch from {column} - clock_timestamp()) from deliveries"  # noqa: S608
    return float(connection.execute(text(question)).scalar_one())


def _lose(connection: Connection, objects: list[DueDelivery], **more: Any) -> int:
    limits: dict[str, Any] = {"max_resends": 2, "retry_in_s": 0.0, **more}
    return proof.record_lost(connection, objects, "not there", **limits)


def test_a_sender_that_lost_its_right_proves_nothing(engine: Engine) -> None:
    with engine.begin() as connection:
        right, _ = _stored(connection)
        objects = proof.due(connection, "pacs")
        for lose in ("set token = token + 1", "set token = token - 1, lease_until = now() - interval '1 s'"):
            connection.execute(text(f"update destination_leases {lose}"))
            proof.record_found(connection, right, objects)
            proof.record_unproven(connection, right, objects, "none", alarm=True)
            proof.postpone(connection, right, objects, "later", in_s=60)
            assert not proof.record_request(connection, right, objects, "2.25.1", ae_title="PACS", wait_s=60)
            assert proof.due(connection, "pacs") == objects
        assert {"found", "unproven"}.isdisjoint(event_kinds(connection))


def test_a_proof_is_due_of_what_is_stored_there_and_of_nothing_else(engine: Engine) -> None:
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection))
        analysed(connection, held, written(1, "pacs"), written(2, "pacs"), written(3, "pacs", "other"))
        stored(connection, sending_right(connection))
        stored(connection, sending_right(connection, "other"), prove=False)
        first, second, third = proof.due(connection, "pacs")
        connection.execute(text("update deliveries set state = 'waiting' where id = :id"), {"id": first.id})
        later = text("update deliveries set proof_due_at = now() + interval '1 hour' where id = :id")
        connection.execute(later, {"id": second.id})
        assert proof.due(connection, "pacs") == [third]
        assert proof.due(connection, "other") == []
        assert proof.due(connection, "pacs", revision_id=held.revision_id) == [third]
        assert proof.due(connection, "pacs", revision_id=held.revision_id + 1) == []


def test_a_commitment_that_is_asked_for_is_waited_for(engine: Engine) -> None:
    with engine.begin() as connection:
        right, sent = _stored(connection)
        assert proof.record_request(connection, right, sent, "2.25.9", ae_title="PACS", wait_s=600)
        (row,) = _rows(connection)
        assert (row.commitment_uid, row.commitment_ae_title) == ("2.25.9", "PACS")
        assert 590 < _due_s(connection, "proof_due_at") <= 600
        assert proof.due(connection, "pacs") == []
        assert not proof.record_request(connection, right, [], "2.25.9", ae_title="PACS", wait_s=600)


def test_what_was_found_is_proven_and_its_alarm_ends(engine: Engine) -> None:
    with engine.begin() as connection:
        right, sent = _stored(connection, 1, 2)
        connection.execute(text("update deliveries set alarmed_at = now()"))
        proof.record_found(connection, right, sent)
        for row in _rows(connection):
            assert (row.found_at is None, row.alarmed_at, row.proof_due_at) == (False, None, None)
        detail = connection.execute(select(Event.detail).where(Event.kind == "found")).scalar_one()
        assert detail == {"destination": "pacs", "objects": 2}


def test_what_got_lost_meanwhile_is_not_found_any_more(engine: Engine) -> None:
    with engine.begin() as connection:
        right, sent = _stored(connection)
        assert _lose(connection, sent) == 1
        proof.record_found(connection, right, sent)
        (row,) = _rows(connection)
        assert (row.state, row.found_at) == ("waiting", None)
        assert "found" not in event_kinds(connection)


@pytest.mark.parametrize("alarm", [False, True])
def test_where_no_proof_can_be_had_none_is_looked_for(engine: Engine, alarm: bool) -> None:
    with engine.begin() as connection:
        right, sent = _stored(connection)
        proof.record_unproven(connection, right, sent, "no proof: not offered", alarm=alarm)
        (row,) = _rows(connection)
        assert (row.state, row.proof, row.proof_due_at) == ("stored", "no proof: not offered", None)
        assert (row.alarmed_at is not None) == alarm
        assert event_kinds(connection)[-1] == "unproven"


def test_an_object_that_got_lost_before_keeps_its_alarm_where_no_proof_can_be_had(engine: Engine) -> None:
    with engine.begin() as connection:
        right, sent = _stored(connection)
        _lose(connection, sent)
        sent = stored(connection, right)
        proof.record_unproven(connection, right, sent, "no proof", alarm=False)
        assert _rows(connection)[0].alarmed_at is not None


def test_looking_again_later_is_counted(engine: Engine) -> None:
    with engine.begin() as connection:
        right, sent = _stored(connection)
        for tries in (1, 2):
            proof.postpone(connection, right, sent, "no answer", in_s=600)
            (row,) = _rows(connection)
            assert (row.proof_tries, row.proof) == (tries, "no answer")
        assert 590 < _due_s(connection, "proof_due_at") <= 600


def test_what_got_lost_waits_again_as_if_it_were_new_but_under_alarm(engine: Engine) -> None:
    with engine.begin() as connection:
        right, sent = _stored(connection)
        proof.record_request(connection, right, sent, "2.25.9", ae_title="PACS", wait_s=0)
        proof.postpone(connection, right, sent, "later", in_s=0)
        proof.record_found(connection, right, sent)
        assert _lose(connection, sent, retry_in_s=600) == 1
        (row,) = _rows(connection)
        assert (row.state, row.resends, row.attempts, row.proof_tries) == ("waiting", 1, 0, 0)
        assert (row.stored_at, row.committed_at, row.found_at, row.commitment_uid) == (None, None, None, None)
        assert (row.proof, row.alarmed_at is None) == ("not there", False)
        assert 590 < _due_s(connection, "next_try_at") <= 600
        assert event_kinds(connection)[-1] == "sent_again"


def test_what_gets_lost_time_and_again_is_sent_a_bounded_number_of_times(engine: Engine) -> None:
    with engine.begin() as connection:
        right, sent = _stored(connection)
        for again in (1, 1, 0):
            assert _lose(connection, sent, max_resends=2) == again
            sent = stored(connection, right) or sent
        (row,) = _rows(connection)
        assert (row.state, row.proof) == ("stored", "not there; sent 3 times")
        assert (row.proof_due_at, row.alarmed_at is None) == (None, False)
        assert event_kinds(connection)[-1] == "unproven"


def test_a_replaced_result_that_got_lost_is_not_sent_again_but_a_rejection_note_is(engine: Engine) -> None:
    with engine.begin() as connection:
        analysed(
            connection,
            claimed(connection, ready_revision(connection)),
            written(1, "pacs"),
            rejection(2, "pacs"),
        )
        sent = stored(connection, sending_right(connection))
        analysed(connection, claimed(connection, ready_revision(connection, 3)))
        assert _lose(connection, sent) == 1
        assert [row.state for row in _rows(connection)] == ["stored", "waiting"]
        assert all(row.alarmed_at for row in _rows(connection))


def test_only_what_is_stored_can_get_lost(engine: Engine) -> None:
    with engine.begin() as connection:
        analysed(connection, claimed(connection, ready_revision(connection)), written(1, "pacs"))
        waiting = deliveries.due(connection, "pacs")
        assert _lose(connection, waiting) == 0
        assert _lose(connection, []) == 0
        (row,) = _rows(connection)
        assert (row.resends, row.alarmed_at) == (0, None)


def test_what_got_lost_is_sent_by_whoever_holds_the_right_next(engine: Engine) -> None:
    with engine.begin() as connection:
        _, sent = _stored(connection)
        _lose(connection, sent)
        expire_leases(connection)
        again = stored(connection, sending_right(connection, owner="w2"))
        assert [item.id for item in again] == [item.id for item in sent]
        assert (again[0].resends, again[0].tried) == (1, True)
