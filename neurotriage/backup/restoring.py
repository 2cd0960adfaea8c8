"""Restore a backup into an empty database and storage: see ``neurotriage.backup`` for the order of steps."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from sqlalchemy import Engine

from db import migrate
from dicom_listener.spool import Spools
from neurotriage.backup.check import require_tables
from neurotriage.backup.damage import BackupDamaged
from neurotriage.backup.listing import ListedFile, Listing, read_listing
from neurotriage.backup.manifest import BackupFolder, Manifest
from neurotriage.backup.objects import Objects, Writing, copy, digest_of
from neurotriage.backup.progress import Tell
from neurotriage.backup.tables import copied_in, require_empty
from neurotriage.core.errors import Unavailable
from neurotriage.core.storage import Storage, atomic_write, sync_folder


def restore(engine: Engine, storage: Storage, folder: Path, tell: Tell) -> Manifest:
    """Restore the backup in ``folder`` and bring the database to this version's schema.

    Nothing is overwritten. One that was interrupted goes on when it is called again: files that are there
    already, byte for byte, stay. No row is there before all files are. Raises ``BackupDamaged`` where
    the backup cannot be used, ``Unavailable`` where database or storage hold anything else or do not answer,
    ``OSError`` where the disk fails.
    """
    place = BackupFolder(folder)
    with place.locked(writing=False):
        manifest = require_tables(place)
        _require_known(manifest)
        require_empty(engine)
        with read_listing(place.objects.path(manifest.listing)) as listing:
            _require_no_others(storage, listing)
            restoring = _Restoring(storage, place.objects, manifest.files, tell)
            restoring.put(file for file in listing.files() if not _is_spooled(storage, file))
            with copied_in(engine, place.objects, manifest.revision, manifest.tables, tell):
                restoring.put(file for file in listing.files() if _is_spooled(storage, file))
    return manifest


class _Restoring:
    """Puts files into the storage."""

    def __init__(self, storage: Storage, objects: Objects, total: int, tell: Tell) -> None:
        self._storage, self._objects = storage, objects
        self._total, self._tell, self._done = total, tell, 0

    def put(self, files: Iterator[ListedFile]) -> None:
        """Put files where they were, durably."""
        changed = set()
        for file in files:
            place = _place(self._storage, file)
            if place.exists():
                _require_same(place, file)
            else:
                self._copy(file, place)
                changed.add(place.parent)
            self._done += 1
            self._tell("files", self._done, self._total)
        for folder in changed:
            sync_folder(folder)

    def _copy(self, file: ListedFile, place: Path) -> None:
        content = file.content
        with self._objects.opened(content) as source, atomic_write(place, durable=False) as unfinished:
            with unfinished.open("wb") as target:
                writing = Writing(target)
                copy(source, writing)
                target.flush()
                os.fsync(target.fileno())
            if writing.content != content:
                raise BackupDamaged(f"{self._objects.path(content)} is damaged: it is no longer {file.path}")
            os.utime(unfinished, ns=(file.mtime_ns, file.mtime_ns))  # or the next backup copies it again


def _require_known(manifest: Manifest) -> None:
    newest = migrate.revisions()[-1]
    if manifest.revision not in migrate.revisions():
        raise BackupDamaged(
            f"the backup is that of neurotriage {manifest.software_version} (schema {manifest.revision}); "
            f"this version knows schemas up to {newest}: install that one"
        )


def _require_no_others(storage: Storage, listing: Listing) -> None:
    """Raise ``Unavailable`` where the storage holds a file that is not of the backup."""
    for path in _files(storage):
        name = str(path.relative_to(storage.root))
        if listing.get(name) is None:
            raise Unavailable(
                f"the storage is not empty: the backup knows no {name}; restore into another [storage] root"
            )


def _files(storage: Storage) -> Iterator[Path]:
    """What the storage holds of patients; without files that a killed process left unfinished."""
    for folder in storage.folders():
        if folder not in (storage.spools, storage.running):
            yield from (path for path in folder.rglob("*") if path.is_file() and path.name[0] != ".")
    yield from Spools(storage).every()


def _require_same(place: Path, file: ListedFile) -> None:
    with place.open("rb") as there:
        same = digest_of(there) == file.content.sha256
    if not same:
        raise Unavailable(f"{place} is there, and is not that of the backup: restore into another folder")


def _place(storage: Storage, file: ListedFile) -> Path:
    path = PurePosixPath(file.path)
    if path.is_absolute() or ".." in path.parts:
        raise BackupDamaged(f"the backup names a file outside of the storage: {file.path}")
    return storage.root / path


def _is_spooled(storage: Storage, file: ListedFile) -> bool:
    return storage.spools in _place(storage, file).parents
