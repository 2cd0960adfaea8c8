"""The manifest of a backup, and the folder that it describes."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from neurotriage.backup.damage import BackupDamaged
from neurotriage.backup.objects import Content, Objects
from neurotriage.core.errors import Unavailable
from neurotriage.core.storage import make_private, write_durably

_NAME: Final = "manifest.json"
_FORM: Final = 1


class TableCopy(BaseModel):
    """A table: its rows as Postgres' COPY writes them, compressed (gzip)."""

    model_config = ConfigDict(frozen=True)

    name: str
    columns: tuple[str, ...]
    rows: int
    content: Content


class Manifest(BaseModel):
    """What belongs to a backup."""

    model_config = ConfigDict(frozen=True)

    form: Literal[1] = _FORM  # of the backup folder
    software_version: str  # of neurotriage
    revision: str  # of the schema
    installation: str = ""  # whose it is; early backups do not say
    began_at: datetime  # what was acknowledged before is in the backup
    ended_at: datetime
    tables: tuple[TableCopy, ...]  # a table comes after those that it refers to
    listing: Content  # SQLite: each file of the storage
    files: int
    size_bytes: int  # of these files
    copied: int  # files that the backup before it did not have
    missing: int  # files that rows name and the storage lacked

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables)


@dataclass(frozen=True, slots=True)
class BackupFolder:
    """The folder of a backup (0700, files 0600)."""

    path: Path

    @property
    def objects(self) -> Objects:
        return Objects(self.path / "objects")

    @contextmanager
    def locked(self, *, writing: bool) -> Iterator[None]:
        """Keep other writers out, and while ``writing`` readers as well. Raises ``Unavailable``."""
        if writing:
            make_private(self.path)
        how = os.O_RDWR | os.O_CREAT if writing else os.O_RDONLY
        try:
            lock = os.open(self.path / "lock", how | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:  # no backup, or one that was copied here without it
            yield
            return
        try:
            fcntl.flock(lock, (fcntl.LOCK_EX if writing else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise Unavailable(f"a backup or restore of {self.path} runs already") from None
        finally:
            os.close(lock)

    def read(self) -> Manifest:
        """The manifest of the last whole backup. Raises ``BackupDamaged`` where it is none of ours."""
        path = self.path / _NAME
        try:
            document = json.loads(path.read_bytes())
            form, stated = document["manifest"]["form"], document["sha256"]
            whole = stated == _digest(document["manifest"])
        except FileNotFoundError:
            raise BackupDamaged(f"there is no backup in {self.path}: {_NAME} is missing") from None
        except (ValueError, KeyError, TypeError):
            raise BackupDamaged(f"{path} is damaged") from None
        if not whole:
            raise BackupDamaged(f"{path} is damaged, or somebody has changed it")
        if form != _FORM:
            raise BackupDamaged(f"{path} was written by a newer version of neurotriage: install that")
        try:
            return Manifest.model_validate(document["manifest"])
        except ValidationError:
            raise BackupDamaged(f"{path} is none of ours") from None

    def write(self, manifest: Manifest) -> None:
        """Replace the manifest, durably and at once. Raises ``OSError``."""
        document = manifest.model_dump(mode="json")
        text = json.dumps({"manifest": document, "sha256": _digest(document)}, indent=1)
        write_durably(self.path / _NAME, text.encode())


def _digest(document: Any) -> str:
    return sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
