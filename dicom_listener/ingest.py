"""From the spool to rows and the store. Killed at any moment, it loses nothing and doubles nothing.

A file is linked into the store under its digest, its row is committed, and only then is the spool's name
removed. What was interrupted is done again from the spool, and each step finds its own work done.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, InterfaceError, OperationalError

from db.instances import record_instances
from db.intake import quarantine, record_refused_context
from dicom_listener.header_reader import HeaderReader
from dicom_listener.spool import ReceivedInstance, Spool, received
from neurotriage.core.errors import Refused, Unavailable
from neurotriage.core.headers import InstanceHeader
from neurotriage.core.storage import Storage, make_private, sync_folder
from neurotriage.core.values import Reason, ReasonCode

log = structlog.get_logger()

# Instances of one transaction: a batch costs as many statements as one instance.
BATCH: Final = 64


@dataclass(frozen=True, slots=True)
class Ingested:
    """What one pass did."""

    recorded: int = 0  # new instances
    repeated: int = 0  # came before, or share a SOP Instance UID with one that did
    quarantined: int = 0
    refused_contexts: int = 0

    def __add__(self, other: "Ingested") -> "Ingested":
        return Ingested(
            self.recorded + other.recorded,
            self.repeated + other.repeated,
            self.quarantined + other.quarantined,
            self.refused_contexts + other.refused_contexts,
        )


@dataclass(frozen=True, slots=True)
class _Parsed:
    """A file of the spool and what its header says, or why it cannot be used."""

    instance: ReceivedInstance
    header: InstanceHeader | Reason


def ingest(engine: Engine, storage: Storage, spool: Spool, reader: HeaderReader) -> Ingested:
    """Empty the spool as far as it was filled at the start of this pass.

    Raises ``Unavailable`` while Postgres does not answer; the files stay where they are.
    """
    done = Ingested()
    waiting, notes = spool.waiting(), spool.refused()
    if not waiting and not notes:
        return done
    try:
        with engine.connect():
            pass  # ask before parsing: without Postgres all of it would be parsed again
        files = iter(waiting)
        while batch := list(islice(files, BATCH)):
            done += _ingest_batch(engine, storage, [_parse(path, reader) for path in batch])
        done += _ingest_refused(engine, notes)
    except (OperationalError, InterfaceError) as error:
        raise Unavailable(f"Postgres does not answer: {type(error.orig).__name__}") from error
    return done


def _parse(path: Path, reader: HeaderReader) -> _Parsed:
    instance = received(path)
    try:
        header = reader.read(path)
    except Refused as refused:
        return _Parsed(instance, refused.reason)
    missing = [
        name
        for name, uid in (
            ("StudyInstanceUID", header.study_instance_uid),
            ("SeriesInstanceUID", header.series_instance_uid),
            ("SOPInstanceUID", header.sop_instance_uid),
            ("SOPClassUID", header.sop_class_uid),
        )
        if not uid
    ]
    if missing:
        return _Parsed(instance, Reason(ReasonCode.NO_STUDY, f"no usable {', '.join(missing)}"))
    return _Parsed(instance, header)


def _ingest_batch(engine: Engine, storage: Storage, batch: Sequence[_Parsed]) -> Ingested:
    changed: set[Path] = set()
    for parsed in batch:
        if isinstance(parsed.header, InstanceHeader):
            changed |= _keep(parsed.instance, storage.stored_instance(parsed.header.digest))
    _sync(changed)
    with engine.begin() as connection:
        done = _record(connection, storage, batch)
    for parsed in batch:
        parsed.instance.path.unlink()
    return done


def _record(connection: Connection, storage: Storage, batch: Sequence[_Parsed]) -> Ingested:
    done = Ingested()
    usable = []
    for parsed in batch:
        if isinstance(parsed.header, Reason):
            done += _quarantine(connection, storage, parsed.instance, parsed.header)
        else:
            usable.append((parsed.header, parsed.instance))
    return done + _record_usable(connection, storage, usable) if usable else done


def _record_usable(
    connection: Connection, storage: Storage, batch: Sequence[tuple[InstanceHeader, ReceivedInstance]]
) -> Ingested:
    """All rows at once; where a value fits into no column, one by one, so that the others flow."""
    try:
        with connection.begin_nested():
            new = record_instances(connection, [(header, instance.reception) for header, instance in batch])
    except DataError:
        if len(batch) > 1:
            return sum((_record_usable(connection, storage, [one]) for one in batch), Ingested())
        reason = Reason(ReasonCode.NOT_DICOM, "a value in the header does not fit into the database")
        return _quarantine(connection, storage, batch[0][1], reason)
    return Ingested(recorded=new.count(True), repeated=new.count(False))


def _quarantine(
    connection: Connection, storage: Storage, instance: ReceivedInstance, reason: Reason
) -> Ingested:
    _sync(_keep(instance, storage.quarantine / instance.name))
    quarantine(connection, instance.name, reason, instance.reception)
    log.warning("quarantined", name=instance.name, code=reason.code)
    return Ingested(quarantined=1)


def _keep(instance: ReceivedInstance, place: Path) -> set[Path]:
    """Link a file of the spool to its place, whole, or an ``OSError``; the folders to sync for it."""
    changed = {place.parent}
    if not place.parent.is_dir():
        make_private(place.parent)
        changed.add(place.parent.parent)
    try:
        place.hardlink_to(instance.path)
    except FileExistsError:
        if received(place).reception.size_bytes != instance.reception.size_bytes:
            # The same digest but not the same length: what lies there is damaged.
            log.error("damaged_file_replaced", name=place.name)
            fresh = place.with_name(f".{instance.name}.{os.getpid()}")
            fresh.hardlink_to(instance.path)
            fresh.replace(place)
    return changed


def _sync(folders: Iterable[Path]) -> None:
    for folder in folders:
        sync_folder(folder)


def _ingest_refused(engine: Engine, notes: Iterable[Path]) -> Ingested:
    count = 0
    for path in notes:
        try:
            note = json.loads(path.read_bytes())
            contexts = [(str(sop_class), list(syntaxes)) for sop_class, syntaxes in note["contexts"]]
            peer = str(note["peer_ae_title"]), str(note["peer_host"])
        except (ValueError, KeyError, TypeError):
            log.error("damaged_note_dropped", name=path.name)  # written without fsync: a power cut
            path.unlink()
            continue
        with engine.begin() as connection:
            for sop_class, syntaxes in contexts:
                record_refused_context(connection, *peer, sop_class, syntaxes)
        path.unlink()
        count += len(contexts)
    return Ingested(refused_contexts=count)
