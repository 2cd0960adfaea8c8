"""Contents of a backup, each a file under its SHA-256."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from io import BufferedIOBase
from pathlib import Path
from typing import BinaryIO, Final

from pydantic import BaseModel, ConfigDict

from neurotriage.backup.damage import BackupDamaged
from neurotriage.core.storage import make_private, sync_folder

_CHUNK_BYTES: Final = 1 << 20


class Content(BaseModel):
    """Bytes by their digest (SHA-256, hex) and size."""

    model_config = ConfigDict(frozen=True)

    sha256: str
    size_bytes: int


class Writing(BufferedIOBase):
    """A stream that computes digest and size of what is written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._summary, self._size_bytes = file, sha256(), 0

    def writable(self) -> bool:
        return True

    def write(self, data: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]
        self._file.write(data)
        self._summary.update(data)
        self._size_bytes += len(data)
        return len(data)

    @property
    def content(self) -> Content:
        return Content(sha256=self._summary.hexdigest(), size_bytes=self._size_bytes)


class Objects:
    """The contents below ``folder``. A file under a digest is whole; one writer at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._unfinished = folder / "unfinished"
        self._changed: set[Path] = set()

    def path(self, content: Content) -> Path:
        return self._folder / content.sha256[:2] / content.sha256

    def has(self, content: Content) -> bool:
        """Whether a file of that digest and size is there; its bytes are not read."""
        try:
            return self.path(content).stat().st_size == content.size_bytes
        except FileNotFoundError:
            return False

    def add(self, file: BinaryIO) -> Content:
        """Add the rest of a stream. Raises ``OSError``."""
        return self.write(lambda target: copy(file, target))

    def write(self, fill: Callable[[Writing], object]) -> Content:
        """Add what ``fill`` writes. Raises ``OSError``; nothing was added then.

        It takes the place of the same content, which may be damaged. Durable once ``sync`` was called.
        """
        make_private(self._folder)
        try:
            with open(self._unfinished, "wb", opener=_private) as file:
                target = Writing(file)
                fill(target)
                file.flush()
                os.fsync(file.fileno())
            place = self.path(target.content)
            make_private(place.parent)
            self._unfinished.replace(place)
            self._changed.add(place.parent)
            return target.content
        finally:
            self._unfinished.unlink(missing_ok=True)

    def sync(self) -> None:
        """Make all that was added durable."""
        for folder in self._changed:
            sync_folder(folder)
        self._changed.clear()

    @contextmanager
    def opened(self, content: Content) -> Iterator[BinaryIO]:
        """The content to be read, after a look at whether it is there. Raises ``BackupDamaged``."""
        if not self.has(content):
            raise BackupDamaged(f"the backup lacks {self.path(content)}, or its size is another")
        with self.path(content).open("rb") as file:
            yield file

    def require_whole(self, content: Content) -> None:
        """Read a content and compare its digest. Raises ``BackupDamaged``."""
        with self.opened(content) as file:
            if digest_of(file) != content.sha256:
                raise BackupDamaged(f"{self.path(content)} is damaged: it has another SHA-256 than its name")

    def remove_others(self, named: Callable[[str], bool]) -> None:
        """Delete every content of whose digest ``named`` is false."""
        for path in self._files():
            if not named(path.name):
                path.unlink()

    def _files(self) -> Iterable[Path]:
        for folder in sorted(self._folder.iterdir()):
            if folder.is_dir():
                yield from folder.iterdir()


def copy(source: BinaryIO, target: Writing) -> None:
    """Copy the rest of a stream."""
    while chunk := source.read(_CHUNK_BYTES):
        target.write(chunk)


def digest_of(file: BinaryIO) -> str:
    """SHA-256 of the rest of a stream, hex."""
    summary = sha256()
    while chunk := file.read(_CHUNK_BYTES):
        summary.update(chunk)
    return summary.hexdigest()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
