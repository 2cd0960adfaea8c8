"""Records the spooled notes of rejected presentation contexts in the database."""

from itertools import islice
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

from db.engine import outage_as_unavailable
from db.refusals import record_refused_context
from dicom_listener.ingest.quarantine import Quarantine
from dicom_listener.refused_contexts import NOTE_LIMIT_BYTES, RefusedContexts
from dicom_listener.spool import Spooled, reception_by_file
from neurotriage.core.reception import Reception

# Per pass, so that instances do not wait for notes.
_NOTES_AT_ONCE: Final = 50


def ingest_notes(engine: Engine, spool: Spooled, quarantine: Quarantine) -> int:
    """Record spooled notes, 50 at most; the number of contexts recorded.

    A note that cannot be recorded is moved into quarantine.
    Raises ``Unavailable`` while Postgres does not answer; the notes stay where they are.
    """
    return sum(_ingest(engine, path, quarantine) for path in islice(spool.refused(), _NOTES_AT_ONCE))


def _ingest(engine: Engine, path: Path, quarantine: Quarantine) -> int:
    peer = "", ""
    try:
        note = RefusedContexts.from_json(_content(path))
        peer = note.peer
        with outage_as_unavailable(), engine.begin() as connection:
            for sop_class, syntaxes in note.contexts:
                record_refused_context(connection, note.peer, sop_class, syntaxes)
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
    return len(note.contexts)


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(NOTE_LIMIT_BYTES + 1)
    if len(content) > NOTE_LIMIT_BYTES:
        raise ValueError("longer than any note of ours")
    return content
