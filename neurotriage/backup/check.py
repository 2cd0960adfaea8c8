"""Look whether a backup holds what its manifest says."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from neurotriage.backup.damage import BackupDamaged
from neurotriage.backup.listing import Listing, read_listing
from neurotriage.backup.manifest import BackupFolder, Manifest
from neurotriage.backup.objects import Objects
from neurotriage.backup.progress import Tell


def damaged_contents(folder: Path, tell: Tell) -> tuple[Manifest, list[str]]:
    """The manifest, and a sentence for each table and file that is not there byte for byte.

    Reads all of the backup. Raises ``BackupDamaged`` where manifest or list of files cannot be read.
    """
    place = BackupFolder(folder)
    with place.locked(writing=False):
        manifest = place.read()
        place.objects.require_whole(manifest.listing)
        with read_listing(place.objects.path(manifest.listing)) as listing:
            return manifest, list(_damage(place.objects, manifest, listing, tell))


def require_tables(place: BackupFolder) -> Manifest:
    """The manifest, after a look at the tables and the list of files. Raises ``BackupDamaged``."""
    manifest = place.read()
    for content in (manifest.listing, *(table.content for table in manifest.tables)):
        place.objects.require_whole(content)
    return manifest


def _damage(objects: Objects, manifest: Manifest, listing: Listing, tell: Tell) -> Iterator[str]:
    tables = [(f"table {table.name}", table.content) for table in manifest.tables]
    files = ((file.path, file.content) for file in listing.files())
    total = len(tables) + manifest.files
    for number, (name, content) in enumerate(chain(tables, files), 1):
        try:
            objects.require_whole(content)
        except BackupDamaged as error:
            yield f"{name}: {error}"
        tell("contents", number, total)
