"""Where bytes lie. Every path of the product is made here; no name from the network is part of one."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Storage:
    """The folders below ``[storage] root``.

    ``spool`` is a maildir per listener (``tmp`` and ``new``); ``store`` holds received instances by the
    digest of their data set; ``quarantine`` what could not be parsed; ``results`` what we made.
    """

    root: Path

    def spool(self, listener: str) -> Path:
        return self.root / "spool" / listener

    def stored_instance(self, digest: str) -> Path:
        """The place of an instance, by the SHA-256 of its data set."""
        return self.root / "store" / digest[:2] / f"{digest}.dcm"

    @property
    def engines(self) -> Path:
        """What was measured and made for this host's inference engines; may be deleted."""
        return self.root / "engines"

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine"

    def evidence(self, revision_id: int) -> Path:
        return self.root / "evidence" / f"{revision_id}.npz"

    def result(self, revision_id: int, sop_instance_uid: str) -> Path:
        return self.root / "results" / str(revision_id) / f"{sop_instance_uid}.dcm"

    def free_bytes(self) -> int:
        """Free space on the file system of the root, which must exist."""
        return shutil.disk_usage(self.root).free


def write_durably(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Write ``data`` so that ``path`` is either absent or whole, also after a power cut.

    Temporary name in the same folder, fsync of the file, rename, fsync of the folder. ``mode``: who may read
    and write it, as far as the umask lets them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make renames inside ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
