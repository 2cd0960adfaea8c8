"""Records the spooled notes of the listener: rejected presentation contexts, and how associations ended."""

from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine

from db.engine import outage_as_unavailable
from db.refusals import record_refused_context
from db.studies.associations import record_ended
from dicom_listener.ingest.quarantine import Quarantine
from dicom_listener.refused_contexts import NOTE_LIMIT_BYTES, RefusedContexts
from dicom_listener.spool import EndedAssociation, Spool, reception_by_file
from neurotriage.core.reception import Reception, Sender

# Per pass, so that instances do not wait for notes.
_NOTES_AT_ONCE: Final = 50
_ENDED_AT_ONCE: Final = 200

_Record = Callable[[Connection], int]
_Note = tuple[Sender, _Record]


def ingest_notes(engine: Engine, spool: Spool, quarantine: Quarantine) -> int:
    """Record spooled notes, 250 at most; the number of contexts and ended associations recorded.

    A note that cannot be recorded is moved into quarantine.
    Raises ``Unavailable`` while Postgres does not answer; the notes stay where they are.
    """
    notes: Iterable[tuple[Path, Callable[[bytes], _Note]]] = (
        *((path, _refused) for path in islice(spool.refused(), _NOTES_AT_ONCE)),
        *((path, _ended) for path in islice(spool.ended(), _ENDED_AT_ONCE)),
    )
    return sum(_ingest(engine, path, read, quarantine) for path, read in notes)


def _refused(content: bytes) -> _Note:
    note = RefusedContexts.from_json(content)

    def record(connection: Connection) -> int:
        for sop_class, syntaxes in note.contexts:
            record_refused_context(connection, note.peer, sop_class, syntaxes)
        return len(note.contexts)

    return note.peer, record


def _ended(content: bytes) -> _Note:
    note = EndedAssociation.from_json(content)

    def record(connection: Connection) -> int:
        record_ended(
            connection, note.association_id, note.peer, released=note.released, ended_at=note.ended_at
        )
        return 1

    return note.peer, record


def _ingest(engine: Engine, path: Path, read: Callable[[bytes], _Note], quarantine: Quarantine) -> int:
    peer = "", ""
    try:
        peer, record = read(_content(path))
        with outage_as_unavailable(), engine.begin() as connection:
            recorded = record(connection)
        path.unlink()
    except FileNotFoundError:
        return 0
    except Exception as error:  # noqa: BLE001 - a bad note must not stop the other notes and the instances
        reason = quarantine.reason_for(path.name, error)
        if reason is not None:
            file = reception_by_file(path)
            reception = Reception(*peer, file.received_at, file.size_bytes)
            quarantine.set_aside("note", path, reason, reception)
        return 0
    quarantine.forget(path.name)
    return recorded


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(NOTE_LIMIT_BYTES + 1)
    if len(content) > NOTE_LIMIT_BYTES:
        raise ValueError("longer than any note of ours")
    return content
