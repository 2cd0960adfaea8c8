"""The paths of all stored files. Every path is made here; no name from the network is part of one."""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PRIVATE_FOLDER: Final = 0o700


@dataclass(frozen=True, slots=True)
class Storage:
    """The folders below ``[storage] root``.

    ``spool`` is a maildir per process that receives (``tmp`` and ``new``); ``store`` holds
    received instances by the digest of their data set; ``quarantine`` files that could not be parsed;
    ``results`` our result objects.
    All of it identifies patients, so folders are 0700 and files 0600, whatever the umask.
    """

    root: Path

    @property
    def spools(self) -> Path:
        """Holds the spool of each process that receives."""
        return self.root / "spool"

    def spool(self, name: str) -> Path:
        return self.spools / name

    def stored_instance(self, digest: str) -> Path:
        """The place of an instance, by the SHA-256 of its data set."""
        return self.root / "store" / digest[:2] / f"{digest}.dcm"

    @property
    def engines(self) -> Path:
        """Measurements and ONNX files of this host's inference engines; may be deleted."""
        return self.root / "engines"

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine"

    @property
    def running(self) -> Path:
        """Digests of the configuration that each service read when it started."""
        return self.root / "running"

    def evidence(self, revision_id: int) -> Path:
        return self.root / "evidence" / f"{revision_id}.npz"

    def result(self, revision_id: int, sop_instance_uid: str) -> Path:
        return self.root / "results" / str(revision_id) / f"{sop_instance_uid}.dcm"

    def shut(self) -> None:
        """Close those of our own folders that an older version left open to other users."""
        for folder in self.folders():
            if folder.stat().st_uid == os.geteuid() and _open_to_others(folder):
                folder.chmod(_PRIVATE_FOLDER)

    def open_to_others(self) -> list[Path]:
        """Our folders into which another user of this host may look; none if the root itself is closed."""
        if not _open_to_others(self.root):
            return []
        return [folder for folder in self.folders() if _open_to_others(folder)]

    def folders(self) -> list[Path]:
        """The existing folders below the root that hold patients' data."""
        names = ("spool", "store", "quarantine", "evidence", "results", "running")
        return [folder for folder in (self.root / name for name in names) if folder.is_dir()]

    def free_bytes(self) -> int:
        """Free space on the file system of the root, which must exist."""
        return shutil.disk_usage(self.root).free

    def total_bytes(self) -> int:
        """Size of the file system of the root, which must exist."""
        return shutil.disk_usage(self.root).total


def make_private(folder: Path) -> None:
    """Make a folder and its missing parents durably, each for our own user alone (0700)."""
    if folder.is_dir():
        return
    make_private(folder.parent)
    folder.mkdir(mode=_PRIVATE_FOLDER, exist_ok=True)
    sync_folder(folder.parent)  # or what is stored in it could be lost with it


def _open_to_others(folder: Path) -> bool:
    return bool(folder.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))


@contextmanager
def atomic_write(path: Path, *, durable: bool = True, private: bool = True) -> Iterator[Path]:
    """A temporary file beside ``path`` to write to; it takes the place of ``path`` where the block succeeds.

    ``path`` is so absent, old or whole, never half written. ``durable``: also after a power cut, by an fsync
    of the file before the rename and of the folder after it. ``private``: missing folders are made 0700 and
    the file 0600; else both as the umask says. Where the block raises, the temporary file is deleted. Raises
    ``OSError``.
    """
    if private:
        make_private(path.parent)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        # Opened before anything is written, so that the fsync reports every failed write.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600 if private else 0o666)
        try:
            yield temporary
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
        if durable:
            sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_durably(path: Path, data: bytes, *, private: bool = True) -> None:
    """Write ``data`` so that ``path`` is either absent or whole, also after a power cut.

    ``private`` as for ``atomic_write``. Raises ``OSError``.
    """
    with atomic_write(path, private=private) as temporary:
        temporary.write_bytes(data)


def sync_folder(folder: Path) -> None:
    """Make renames inside ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
