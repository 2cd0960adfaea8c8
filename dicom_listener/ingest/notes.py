"""Records the spooled notes of the listener: what was rejected, how associations ended, what is to be
committed."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine

from db.commitments import record_request
from db.engine import outage_as_unavailable
from db.refusals import record_refused_association, record_refused_context
from db.studies.associations import AssociationEnd, record_ended
from dicom_listener.ingest.quarantine import Quarantine
from dicom_listener.refused_associations import RefusedAssociations
from dicom_listener.refused_contexts import NOTE_LIMIT_BYTES, RefusedContexts
from dicom_listener.spool import (
    COMMITMENT_LIMIT_BYTES,
    EndedAssociation,
    RequestedCommitment,
    Spooled,
    reception_by_file,
)
from neurotriage.core.errors import Unavailable

# Per pass, so that instances do not wait for notes.
_NOTES_AT_ONCE: Final = 50
_ENDED_AT_ONCE: Final = 200
_REQUESTS_AT_ONCE: Final = 10
_LIMIT_BYTES: Final = max(NOTE_LIMIT_BYTES, COMMITMENT_LIMIT_BYTES)


# Records what notes say, in the transaction given; the number of things recorded.
_Record = Callable[[Connection, Sequence[bytes]], int]


def ingest_notes(engine: Engine, spool: Spooled, quarantine: Quarantine) -> int:
    """Record notes of what was refused and of what ended, a few hundred at most; the number of things.

    A note that cannot be recorded is moved into quarantine.
    Raises ``Unavailable`` while Postgres does not answer; the notes stay where they are.
    """
    kinds: tuple[tuple[list[Path], int, _Record], ...] = (
        (spool.refused(), _NOTES_AT_ONCE, _record_contexts),
        (spool.rejected(), _NOTES_AT_ONCE, _record_refusals),
        (spool.ended(), _ENDED_AT_ONCE, _record_ended),
    )
    return sum(_ingest(engine, notes[:at_once], quarantine, record) for notes, at_once, record in kinds)


def ingest_requests(engine: Engine, spool: Spooled, quarantine: Quarantine) -> int:
    """Record requests for storage commitment as ``ingest_notes`` does notes, a few at most; their number."""
    return _ingest(engine, spool.commitments()[:_REQUESTS_AT_ONCE], quarantine, _record_commitments)


def _record_contexts(connection: Connection, contents: Sequence[bytes]) -> int:
    notes = [RefusedContexts.from_json(content) for content in contents]
    for note in notes:
        for sop_class, syntaxes in note.contexts:
            record_refused_context(connection, note.peer, sop_class, syntaxes)
    return sum(len(note.contexts) for note in notes)


def _record_refusals(connection: Connection, contents: Sequence[bytes]) -> int:
    notes = [RefusedAssociations.from_json(content) for content in contents]
    for note in notes:
        for refusal, times in note.times.items():
            peer = refusal.calling_ae_title, refusal.peer_host
            record_refused_association(connection, refusal.cause, peer, refusal.called_ae_title, times=times)
    return sum(len(note.times) for note in notes)


def _record_ended(connection: Connection, contents: Sequence[bytes]) -> int:
    notes = map(EndedAssociation.from_json, contents)
    ends = [AssociationEnd(n.association_id, n.peer, n.released, n.ended_at) for n in notes]
    record_ended(connection, ends)
    return len(ends)


def _record_commitments(connection: Connection, contents: Sequence[bytes]) -> int:
    for note in map(RequestedCommitment.from_json, contents):
        record_request(
            connection,
            note.request,
            peer_ae_title=note.peer_ae_title,
            called_ae_title=note.called_ae_title,
            peer_host=note.report_host,
            requested_at=note.requested_at,
        )
    return len(contents)


def _ingest(engine: Engine, paths: list[Path], quarantine: Quarantine, record: _Record) -> int:
    """Record all in one transaction; where that fails, each in its own, so that a bad note stops no other."""
    if not paths:
        return 0
    try:
        contents = [_content(path) for path in paths]
        with outage_as_unavailable(), engine.begin() as connection:
            recorded = record(connection, contents)
        for path in paths:
            path.unlink()
            quarantine.forget(path.name)
    except Unavailable:
        raise
    except Exception as error:  # noqa: BLE001 - nor must it stop the instances
        if len(paths) > 1:
            return sum(_ingest(engine, [path], quarantine, record) for path in paths)
        _set_aside(paths[0], quarantine, error)
        return 0
    return recorded


def _set_aside(path: Path, quarantine: Quarantine, error: Exception) -> None:
    if isinstance(error, FileNotFoundError):
        return
    reason = quarantine.reason_for(path.name, error)
    if reason is not None:
        quarantine.set_aside("note", path, reason, reception_by_file(path))


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(_LIMIT_BYTES + 1)
    if len(content) > _LIMIT_BYTES:
        raise ValueError("longer than any note of ours")
    return content
