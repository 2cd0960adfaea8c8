"""Files that could not be used, and presentation contexts that were refused."""

from dataclasses import replace

from sqlalchemy import Connection, Engine, select, text

from db import refusals
from db.tables import Quarantined, RefusedContext
from neurotriage.core.values import Reason, ReasonCode
from tests.db.rows import NOW, RECEPTION

PEER = ("A", "10.0.0.1")


def test_whoever_makes_up_new_contexts_each_time_fills_no_table(engine: Engine) -> None:
    with engine.begin() as connection:
        for number in range(20):
            refusals.record_refused_context(connection, ("A", "10.0.0.1"), f"1.2.{number}", [], limit=10)
        refusals.record_refused_context(connection, ("A", "10.0.0.1"), "1.2.3", [], limit=10)
        rows = connection.execute(text("select sop_class_uid, times from refused_contexts")).all()
    assert len(rows) == 11
    assert ("other", 10) in rows
    assert ("1.2.3", 2) in rows


def _counts(connection: Connection) -> dict[tuple[str, str, str, str], int]:
    rows = connection.execute(select(RefusedContext.__table__)).all()
    return {
        (row.peer_ae_title, row.peer_host, row.sop_class_uid, row.transfer_syntaxes): row.times
        for row in rows
    }


def test_a_context_is_counted_per_peer_class_and_offer(engine: Engine) -> None:
    with engine.begin() as connection:
        for peer in (PEER, PEER, ("A", "10.0.0.2"), ("B", "10.0.0.1")):
            refusals.record_refused_context(connection, peer, "1.2", ["1.2.1", "1.2.2"])
        refusals.record_refused_context(connection, PEER, "1.2", ["1.2.1"])
        refusals.record_refused_context(connection, PEER, "1.3", ["1.2.1", "1.2.2"])
        assert _counts(connection) == {
            ("A", "10.0.0.1", "1.2", "1.2.1 1.2.2"): 2,
            ("A", "10.0.0.2", "1.2", "1.2.1 1.2.2"): 1,
            ("B", "10.0.0.1", "1.2", "1.2.1 1.2.2"): 1,
            ("A", "10.0.0.1", "1.2", "1.2.1"): 1,
            ("A", "10.0.0.1", "1.3", "1.2.1 1.2.2"): 1,
        }


def test_in_a_full_table_each_address_has_one_row_for_what_is_new(engine: Engine) -> None:
    with engine.begin() as connection:
        refusals.record_refused_context(connection, PEER, "1.2", [], limit=1)
        for number, host in enumerate(("10.0.0.1", "10.0.0.2", "10.0.0.1")):
            refusals.record_refused_context(connection, (f"T{number}", host), "1.9", ["1.2"], limit=1)
        assert _counts(connection) == {
            ("A", "10.0.0.1", "1.2", ""): 1,
            ("", "10.0.0.1", "other", ""): 2,
            ("", "10.0.0.2", "other", ""): 1,
        }


def test_a_context_that_is_refused_again_says_when_it_was_last(engine: Engine) -> None:
    with engine.begin() as connection:
        refusals.record_refused_context(connection, PEER, "1.2", [])
        connection.execute(text("update refused_contexts set last_at = '2020-01-01'"))
        refusals.record_refused_context(connection, PEER, "1.2", [])
        assert connection.execute(text("select last_at = now() from refused_contexts")).scalar_one()


def test_a_file_that_is_set_aside_twice_is_one_row_with_its_first_reason(engine: Engine) -> None:
    later = replace(RECEPTION, peer_ae_title="LATER")
    with engine.begin() as connection:
        for code, words, reception in (
            (ReasonCode.NOT_DICOM, "no DICOM", RECEPTION),
            (ReasonCode.INTERNAL_ERROR, "twice", later),
        ):
            refusals.quarantine(
                connection, "f.dcm", "quarantine/f.dcm", Reason(code, words), reception, kind="instance"
            )
        row = connection.execute(select(Quarantined.__table__)).one()
    assert (row.code, row.reason, row.kind) == ("not_dicom", "no DICOM", "instance")
    assert (row.peer_ae_title, row.peer_host, row.received_at) == ("SCANNER", "127.0.0.1", NOW)
    assert (row.path, row.size_bytes) == ("quarantine/f.dcm", 1000)
    assert row.quarantined_at > row.received_at
