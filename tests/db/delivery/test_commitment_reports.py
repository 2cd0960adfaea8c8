"""A report of a storage commitment speaks of what its sender was asked, and of nothing else."""

from typing import Any

from sqlalchemy import Connection, Engine, Row, select, text

from db.delivery import proof
from db.delivery.deliveries import DueDelivery
from db.delivery.destinations import SendingRight
from db.tables import Delivery, Event
from neurotriage.dicom.commitment import CommitmentReport
from tests.db.rows import analysed, claimed, event_kinds, ready_revision, sending_right, stored, written

TRANSACTION = "2.25.999"


def _asked(connection: Connection, *numbers: int) -> tuple[SendingRight, list[DueDelivery]]:
    """Objects that are stored at ``pacs``, whose AE title PACS was asked to commit them."""
    held = claimed(connection, ready_revision(connection))
    analysed(connection, held, *(written(number, "pacs") for number in numbers))
    right = sending_right(connection)
    sent = stored(connection, right)
    assert proof.record_request(connection, right, sent, TRANSACTION, ae_title="PACS", wait_s=3600)
    return right, sent


def _report(
    connection: Connection,
    *committed: int,
    failed: dict[int, int] | None = None,
    transaction: str = TRANSACTION,
    ae_title: str = "PACS",
) -> int:
    report = CommitmentReport(
        transaction,
        tuple(f"2.25.{number}" for number in committed),
        tuple((f"2.25.{number}", reason) for number, reason in (failed or {}).items()),
    )
    return proof.record_report(connection, report, ae_title=ae_title, max_resends=1, retry_in_s=0)


def _rows(connection: Connection) -> list[Row[Any]]:
    return list(connection.execute(select(Delivery.__table__).order_by(Delivery.id)))


def test_what_is_committed_is_proven_and_its_alarm_ends(engine: Engine) -> None:
    with engine.begin() as connection:
        _asked(connection, 1, 2)
        connection.execute(text("update deliveries set alarmed_at = now()"))
        assert _report(connection, 1) == 1
        first, second = _rows(connection)
        assert (first.committed_at is None, first.proof_due_at, first.alarmed_at) == (False, None, None)
        assert (second.committed_at, second.proof_due_at is None) == (None, False)


def test_a_report_that_comes_twice_changes_nothing_the_second_time(engine: Engine) -> None:
    with engine.begin() as connection:
        _asked(connection, 1)
        assert _report(connection, 1) == 1
        connection.execute(text("update deliveries set committed_at = '2020-01-01'"))
        assert _report(connection, 1) == 1
        assert _rows(connection)[0].committed_at.year == 2020
        assert event_kinds(connection).count("committed") == 1


def test_a_report_of_another_peer_or_transaction_proves_nothing_and_is_recorded(engine: Engine) -> None:
    with engine.begin() as connection:
        _asked(connection, 1)
        assert _report(connection, 1, ae_title="OTHER") == 0
        assert _report(connection, 1, ae_title="") == 0
        assert _report(connection, 1, transaction="2.25.1") == 0
        assert _report(connection, failed={1: 0x0112}, ae_title="OTHER") == 0
        (row,) = _rows(connection)
        assert (row.state, row.committed_at) == ("stored", None)
        events = connection.execute(select(Event.detail).where(Event.kind == "commitment_unknown")).scalars()
        assert [event["peer_ae_title"] for event in events] == ["OTHER", "", "PACS", "OTHER"]


def test_a_title_is_compared_without_its_padding(engine: Engine) -> None:
    with engine.begin() as connection:
        _asked(connection, 1)
        assert _report(connection, 1, ae_title=" PACS \0") == 1


def test_objects_that_were_not_asked_about_are_passed_over(engine: Engine) -> None:
    with engine.begin() as connection:
        _asked(connection, 1)
        other = claimed(connection, ready_revision(connection, 1, study="1.2.4"))
        analysed(connection, other, written(2, "pacs"), written(3, "pacs"))
        assert _report(connection, 1, 2, failed={3: 0x0112}) == 1
        assert [row.committed_at is None for row in _rows(connection)] == [False, True, True]
        assert [row.state for row in _rows(connection)] == ["stored", "waiting", "waiting"]


def test_what_is_not_committed_is_sent_again_with_the_reason_in_words(engine: Engine) -> None:
    with engine.begin() as connection:
        _asked(connection, 1, 2, 3)
        assert _report(connection, 1, failed={2: 0x0112, 3: 0x1234}) == 3
        assert [row.state for row in _rows(connection)] == ["stored", "waiting", "waiting"]
        assert [row.proof for row in _rows(connection)] == [
            "committed by the destination",
            "not committed by the destination: it does not have the object (0x0112)",
            "not committed by the destination: failure (0x1234)",
        ]


def test_an_object_that_is_named_both_ways_is_sent_again(engine: Engine) -> None:
    """An archive that contradicts itself has not promised anything."""
    with engine.begin() as connection:
        _asked(connection, 1)
        _report(connection, 1, failed={1: 0x0110})
        (row,) = _rows(connection)
        assert (row.state, row.committed_at) == ("waiting", None)


def test_a_late_report_about_what_was_sent_again_proves_nothing(engine: Engine) -> None:
    """It speaks of the object that got lost, and not of the one that was sent after it."""
    with engine.begin() as connection:
        right, sent = _asked(connection, 1)
        proof.record_lost(connection, sent, "not there", max_resends=1, retry_in_s=0)
        assert _report(connection, 1) == 0
        assert len(stored(connection, right)) == 1
        assert _report(connection, 1) == 0
        (row,) = _rows(connection)
        assert (row.committed_at, row.resends) == (None, 1)


def test_what_is_committed_at_one_destination_is_not_proven_at_another(engine: Engine) -> None:
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection))
        analysed(connection, held, written(1, "pacs", "archive"))
        for destination in ("pacs", "archive"):
            right = sending_right(connection, destination)
            sent = stored(connection, right)
            uid, title = f"2.25.{destination}", destination.upper()
            assert proof.record_request(connection, right, sent, uid, ae_title=title, wait_s=3600)
        assert _report(connection, 1, transaction="2.25.archive", ae_title="ARCHIVE") == 1
        proven = {row.destination: row.committed_at is not None for row in _rows(connection)}
        assert proven == {"pacs": False, "archive": True}
