"""The folder into which a site drops messages: which of its files wait, and where they go afterwards."""

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from dicom_listener.hl7.encoding import UnusableMessage
from neurotriage.core.storage import make_private

MAX_BYTES: Final = 1024 * 1024
KEPT: Final = 1000  # files in each of the two folders, the newest
DONE, REFUSED = "done", "refused"
REASON: Final = ".reason"
# The forms of names under which a file is still being written; .filepart is that of WinSCP.
_UNFINISHED: Final = (".tmp", ".part", ".filepart")
_PASSING: Final = (errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE)
_NAME_LENGTH: Final = 50  # characters of it that are kept, of up to four bytes each


@dataclass(frozen=True, slots=True, order=True)
class DroppedFile:
    """A file as it was seen; the oldest come first."""

    mtime_ns: int
    name: str
    size_bytes: int
    inode: int


class Changed(Exception):
    """A file is not as it was seen, or gone: it is not ready yet."""


def dropped(folder: Path) -> Iterator[DroppedFile]:
    """What lies in the folder under a name that is no temporary one. Raises ``OSError``."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name.lower().endswith(_UNFINISHED):
                continue
            try:
                seen = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if not stat.S_ISDIR(seen.st_mode):
                yield _as_seen(entry.name, seen)


def read(folder: Path, file: DroppedFile) -> bytes:
    """The bytes of a file. A link is not followed, a pipe not waited for.

    Raises ``Changed``, ``UnusableMessage`` for what cannot be read or is too long, and ``OSError`` where this
    may pass.
    """
    try:
        descriptor = os.open(folder / file.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            seen = os.fstat(descriptor)
            if not stat.S_ISREG(seen.st_mode):
                raise UnusableMessage("it is no regular file")
            if seen.st_size > MAX_BYTES:
                raise UnusableMessage(f"it is longer than {MAX_BYTES} bytes")
            data = stream.read(MAX_BYTES + 1)
            if _as_seen(file.name, os.fstat(descriptor)) != file or len(data) != file.size_bytes:
                raise Changed
    except FileNotFoundError:
        raise Changed from None
    except OSError as error:
        if error.errno in _PASSING:
            raise
        raise UnusableMessage(f"it cannot be read: {error.strerror}") from None
    return data


def prepare(folder: Path) -> None:
    """Make the two folders. Raises ``OSError``, also where the folder itself is not there."""
    folder.stat()
    for name in (DONE, REFUSED):
        make_private(folder / name)


def move(folder: Path, file: DroppedFile, to: str, reason: str = "") -> str:
    """Move a file into ``done`` or ``refused``, there with its reason; the time that begins its new name.

    A file that has changed since it was seen stays: it is another one. Raises ``OSError``.
    """
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    source, target = folder / file.name, folder / to / f"{stamp}-{file.name[-_NAME_LENGTH:]}"
    try:
        if _as_seen(file.name, source.lstat()) != file:
            return stamp
        if reason:
            target.with_name(f"{target.name}{REASON}").write_text(f"{reason}\n", encoding="utf-8")
        source.rename(target)
    except FileNotFoundError:
        if source.exists():
            raise
    return stamp


def prune(folder: Path) -> None:
    """Delete the oldest of what was done and refused, beyond ``KEPT``. Raises ``OSError``."""
    for name in (DONE, REFUSED):
        # Each name begins with its time; a reason stands behind its file.
        paths = sorted((folder / name).iterdir(), key=lambda path: path.name)
        files = [path for path in paths if path.suffix != REASON]
        kept = {path.name for path in files[-KEPT:]}
        for path in paths:
            if path.name.removesuffix(REASON) not in kept:
                path.unlink(missing_ok=True)


def refused(folder: Path) -> int:
    """How many files lie in ``refused``. Raises ``OSError``."""
    place = folder / REFUSED
    return sum(path.suffix != REASON for path in place.iterdir()) if place.is_dir() else 0


def _as_seen(name: str, seen: os.stat_result) -> DroppedFile:
    return DroppedFile(seen.st_mtime_ns, name, seen.st_size, seen.st_ino)
