"""Back up database and storage into a folder: see ``neurotriage.backup`` for the order of steps."""

import os
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

from db import migrate
from dicom_listener.spool import Spools
from neurotriage import __version__
from neurotriage.backup.damage import BackupDamaged
from neurotriage.backup.listing import ListedFile, Listing, new_listing, read_listing
from neurotriage.backup.manifest import BackupFolder, Manifest
from neurotriage.backup.objects import Content, Objects
from neurotriage.backup.progress import Tell
from neurotriage.backup.tables import copy_out, files_of_rows, installation_of, snapshot
from neurotriage.core.errors import Unavailable
from neurotriage.core.storage import Storage

_LISTING: Final = "listing.unfinished"


def back_up(engine: Engine, storage: Storage, folder: Path, tell: Tell) -> Manifest:
    """Make the backup in ``folder`` one of this moment; what it has already is not copied again.

    Where it raises, the former backup in ``folder`` stays as it was: ``Unavailable`` where the database is
    none of this version, another backup is being made there or it is that of another installation,
    ``OSError`` where a disk fails or is full.
    """
    _require_schema(engine)
    if folder.resolve().is_relative_to(storage.root.resolve()):
        raise Unavailable(f"{folder} lies in the storage that it would back up: choose another disk")
    place = BackupFolder(folder)
    with place.locked(writing=True):
        _require_ours(engine, place)
        manifest = _copied(engine, storage, place, tell)
        _remove_former(place, manifest)
    return manifest


@dataclass
class _Copying:
    """Copies files of the storage, unless the former backup has them."""

    storage: Storage
    objects: Objects
    listing: Listing
    former: Listing | None
    copied: int = 0

    def take(self, path: str) -> bool:
        """Copy a file; false where it is gone."""
        try:
            file = (self.storage.root / path).open("rb")
        except FileNotFoundError:
            return False
        with file:
            status = os.fstat(file.fileno())
            kept = self._kept(path, status.st_size, status.st_mtime_ns)
            content = kept or self.objects.add(file)
        self.copied += kept is None
        self.listing.put(ListedFile(path, content, status.st_mtime_ns))
        return True

    def keep(self, path: str) -> None:
        """Keep what the former backup has of a file that the storage lost: there may be no other copy."""
        known = self.former.get(path) if self.former else None
        if known is not None and self.objects.has(known.content):
            self.listing.put(known)

    def _kept(self, path: str, size_bytes: int, mtime_ns: int) -> Content | None:
        """What the former backup has of a file that did not change since."""
        known = self.former.get(path) if self.former else None
        if known is None or (known.content.size_bytes, known.mtime_ns) != (size_bytes, mtime_ns):
            return None
        return known.content if self.objects.has(known.content) else None


def _copied(engine: Engine, storage: Storage, place: BackupFolder, tell: Tell) -> Manifest:
    """Copy all that the former backup lacks, and name it in a new manifest."""
    began_at, objects, unfinished = datetime.now(UTC), place.objects, place.path / _LISTING
    try:
        with ExitStack() as stack:
            listing = stack.enter_context(new_listing(unfinished))
            former = _former_listing(place)
            known = stack.enter_context(read_listing(former)) if former else None
            copying = _Copying(storage, objects, listing, known)
            for path in Spools(storage).every():
                copying.take(str(path.relative_to(storage.root)))
            # A table that a migration writes anew is empty to a snapshot from before.
            with migrate.kept_out(engine), snapshot(engine) as connection:
                _require_schema(engine)
                installation = installation_of(connection)
                revision = migrate.revision_of(connection)
                tables = tuple(copy_out(connection, objects, tell))
                listing.name(files_of_rows(connection, storage))
            missing = _take_all(copying, tell)
            files, size_bytes, _ = listing.totals
        manifest = Manifest(
            software_version=__version__,
            revision=revision or "",
            installation=installation,
            began_at=began_at,
            ended_at=datetime.now(UTC),
            tables=tables,
            listing=_added(objects, unfinished),
            files=files,
            size_bytes=size_bytes,
            copied=copying.copied,
            missing=missing,
        )
    finally:
        unfinished.unlink(missing_ok=True)
    objects.sync()
    place.write(manifest)
    return manifest


def _added(objects: Objects, path: Path) -> Content:
    with path.open("rb") as file:
        return objects.add(file)


def _take_all(copying: _Copying, tell: Tell) -> int:
    """Copy the files that rows name; the number of those that the storage lacks."""
    total, lacking = copying.listing.totals[2], 0
    for number, path in enumerate(copying.listing.missing(), 1):
        if not copying.take(path):
            copying.keep(path)
            lacking += 1
        tell("files", number, total)
    return lacking


def _require_schema(engine: Engine) -> None:
    problem = migrate.problem(engine)
    if problem is not None:
        raise Unavailable(f"database: {problem}")


def _require_ours(engine: Engine, place: BackupFolder) -> None:
    """Raise ``Unavailable`` where the former backup is not of this installation: it would be deleted.

    Such is a database that was set up anew after a disaster, before anybody has restored it.
    """
    try:
        former = place.read().installation
    except BackupDamaged:
        return
    with engine.connect() as connection:
        ours = installation_of(connection)
    if former not in ("", ours):
        raise Unavailable(
            f"{place.path} holds the backup of another installation than that of this database: "
            "restore it, or choose another folder"
        )


def _former_listing(place: BackupFolder) -> Path | None:
    """The list of the backup that is there; None where there is none, or one that cannot be believed."""
    try:
        listing = place.read().listing
        place.objects.require_whole(listing)
    except BackupDamaged:
        return None
    return place.objects.path(listing)


def _remove_former(place: BackupFolder, manifest: Manifest) -> None:
    """Delete what only former backups, or such as were interrupted, hold."""
    ours = {manifest.listing.sha256, *(table.content.sha256 for table in manifest.tables)}
    with read_listing(place.objects.path(manifest.listing)) as listing:
        place.objects.remove_others(lambda sha256: sha256 in ours or listing.has_content(sha256))
