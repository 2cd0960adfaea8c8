"""Backup and restore of database and storage, while the services run.

A backup is a folder:

    manifest.json   what belongs to the last whole backup; replaced at its end, at once
    objects/        contents by their SHA-256: tables, files of the storage, the list of those files
    lock            held by whoever writes or reads it

What a file of the storage holds is copied once, however often it is backed up. A backup that was interrupted
leaves objects that nobody names; the former manifest and all that it names stay.

The order makes the copy consistent. A received file moves from the spool through a committed row out of the
spool, and is durable in the store before its row is committed. So first the spool is copied, then the tables
in one snapshot, then the files that these rows name: what was acknowledged before the backup began is in the
copied spool, or its row is in the snapshot and its file in the store. A spooled file that is gone when it
would be copied was recorded before the snapshot. One that is in both is recorded again after a restore, which
only raises its counter. A restore goes the other way: files, rows, spool, and commits the rows at its end, so
that they never name a file that is not there yet, and that one which was interrupted finds no row.
"""

from neurotriage.backup.check import damaged_contents
from neurotriage.backup.copying import back_up
from neurotriage.backup.damage import BackupDamaged
from neurotriage.backup.manifest import Manifest
from neurotriage.backup.restoring import restore

__all__ = ["BackupDamaged", "Manifest", "back_up", "damaged_contents", "restore"]
