"""Notes of refused presentation contexts become rows, whatever a peer wrote into them."""

import json

import pytest
from sqlalchemy import Connection, Engine, event

from dicom_listener.ingest.notes import ingest_notes
from dicom_listener.ingest.quarantine import Quarantine
from dicom_listener.spool import AssociationInfo, Spool
from dicom_listener.spool import spool as spool_module
from neurotriage.core.storage import Storage
from tests.listener.conftest import PARTIES, rows


def test_refused_contexts_become_rows_that_count_and_a_damaged_note_is_set_aside(
    engine: Engine, spool: Spool, quarantine: Quarantine
) -> None:
    for _ in range(2):
        spool.note_refused(PARTIES, [("1.2.3.4", ["1.2.840.10008.1.2.1.99"])])
    (spool.refused()[0].parent / "0.json").write_text("half a no")
    assert ingest_notes(engine, spool, quarantine) == 2
    query = "select peer_ae_title, sop_class_uid, transfer_syntaxes, times from refused_contexts"
    assert rows(engine, query) == [("SENDER", "1.2.3.4", "1.2.840.10008.1.2.1.99", 2)]
    assert spool.refused() == []
    assert rows(engine, "select name, kind, code from quarantined") == [("0.json", "note", "not_recorded")]


# Harmless stand-ins for what stopped every analysis.
POISON_CONTEXTS = [
    ("1.2.3.4", [f"1.2.3.{number}" for number in range(2000)]),
    ("1.2.3.5", ["1.2." + "3" * 4000]),
    ("1.2.3\0.6", ["1.2.840\0.10008"]),
    ("1.2.3.7" + "8" * 5000, ["\ud83d", "\U0001f9e0" * 64, "a b\nc"]),
    ("", []),
]


@pytest.mark.parametrize("written_by", ["us", "an older version"])
def test_whatever_a_peer_proposes_fits_into_a_row(
    engine: Engine, spool: Spool, storage: Storage, quarantine: Quarantine, written_by: str
) -> None:
    parties = AssociationInfo("A\0B\x1b[2J\U0001f9e0" + "C" * 60, "NEUROTRIAGE", "127.0.0.1")
    if written_by == "us":
        spool.note_refused(parties, POISON_CONTEXTS)
        (note,) = spool.refused()
        assert note.stat().st_size < 10_000
    else:
        document = {
            "peer_ae_title": parties.calling_ae_title,
            "peer_host": parties.peer_host,
            "contexts": POISON_CONTEXTS,
        }
        (storage.spool("main") / "refused" / "1.json").write_text(json.dumps(document))
    spool.note_refused(PARTIES, [("1.2.3.4", ["1.2.840.10008.1.2"])] * 500)
    assert ingest_notes(engine, spool, quarantine) == len(POISON_CONTEXTS) + 1
    assert spool.refused() == []
    query = "select length(transfer_syntaxes), length(sop_class_uid), peer_ae_title from refused_contexts"
    for syntaxes, sop_class, title in rows(engine, query):
        assert int(str(syntaxes)) <= 1400
        assert int(str(sop_class)) <= 64
        assert len(str(title)) <= 16
        assert str(title).isprintable()


@pytest.mark.parametrize(
    "content",
    [b"[]", b"{}", b'{"contexts": 3}', b"\xff\xfe", b"[" * 100_000, b" " * (2 << 20)],
    ids=["list", "empty", "number", "no text", "deep", "huge"],
)
def test_a_note_that_is_none_is_set_aside_and_the_next_is_recorded(
    engine: Engine, spool: Spool, storage: Storage, quarantine: Quarantine, content: bytes
) -> None:
    (storage.spool("main") / "refused" / "0.json").write_bytes(content)
    spool.note_refused(PARTIES, [("1.2.3.4", [])])
    assert ingest_notes(engine, spool, quarantine) == 1
    assert spool.refused() == []
    query = "select kind, path, size_bytes from quarantined"
    assert rows(engine, query) == [("note", "quarantine/0.json", len(content))]
    assert (storage.quarantine / "0.json").read_bytes() == content


def test_notes_that_nobody_records_do_not_pile_up(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "_MAX_NOTES", 3)
    for _ in range(3):
        spool.note_refused(PARTIES, [("1.2.3.4", [])])
    with pytest.raises(OSError, match="wait"):
        spool.note_refused(PARTIES, [("1.2.3.4", [])])
    assert len(spool.refused()) == 3


def test_how_an_association_ended_becomes_a_row_once_and_a_damaged_note_is_set_aside(
    engine: Engine, spool: Spool, quarantine: Quarantine
) -> None:
    for name, released in (("one", True), ("two", False), ("x" * 99, True)):
        spool.note_ended(AssociationInfo("SENDER", "NEUROTRIAGE", "10.0.0.1", name), released=released)
    (spool.ended()[0].parent / "0.json").write_text('{"association_id": "a", "ended_at": "2026-01-01"}')
    assert ingest_notes(engine, spool, quarantine) == 3
    query = "select association_id, released, peer_ae_title, peer_host from associations order by id"
    peer = ("SENDER", "10.0.0.1")
    assert rows(engine, query) == [("one", True, *peer), ("two", False, *peer), ("x" * 32, True, *peer)]
    assert spool.ended() == []
    assert rows(engine, "select name, kind from quarantined") == [("0.json", "note")]


def test_an_association_for_each_image_costs_no_transaction_each(
    engine: Engine, spool: Spool, quarantine: Quarantine
) -> None:
    commits: list[Connection] = []
    event.listen(engine, "commit", commits.append)
    for number in range(50):
        spool.note_ended(AssociationInfo("SENDER", "NEUROTRIAGE", "10.0.0.1", str(number)), released=True)
    assert ingest_notes(engine, spool, quarantine) == 50
    assert len(commits) == 1
    assert rows(engine, "select count(*) from associations") == [(50,)]


def test_notes_of_ended_associations_that_wait_are_bounded(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "_MAX_ENDED", 2)
    for _ in range(2):
        spool.note_ended(PARTIES, released=True)
    with pytest.raises(OSError, match="2 notes wait"):
        spool.note_ended(PARTIES, released=True)
