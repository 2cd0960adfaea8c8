"""One data set on its way into the spool, written as it comes."""

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from dicom_listener.spool.file_meta import NO_DIGEST
from neurotriage.core.storage import sync_folder

_PLACE: Final = NO_DIGEST.encode()


class Incoming:
    """A file in ``tmp`` that becomes one of ``folder`` when it is committed. Not thread-safe.

    Digest and size are computed on the way. As a context, what was not committed is discarded at the end.
    ``require_room`` raises ``OSError`` where so many more bytes may not be written. The constructor raises
    ``OSError``, and leaves no file, where the disk fails.
    """

    def __init__(
        self, tmp: Path, folder: Path, name: str, meta: bytes, require_room: Callable[[int], None]
    ) -> None:
        require_room(len(meta))
        self._temporary, self._path = tmp / f"{name}.dcm", folder / f"{name}.dcm"
        self._require_room = require_room
        self._digest_at = meta.rindex(_PLACE)  # the last one: a UID may be made of zeros
        self._summary = sha256()
        self.size_bytes = 0
        self._descriptor: int | None = os.open(
            self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        try:
            _write_all(self._descriptor, meta)
        except BaseException:
            self.discard()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes of the data set. Raises ``OSError``; the file is then to be discarded."""
        self._require_room(len(data))
        _write_all(self._open, data)
        self._summary.update(data)
        self.size_bytes += len(data)

    def commit(self) -> str:
        """The name of the file (without suffix), once it is on stable storage.

        Raises ``OSError``; the file is then gone, also where it was renamed already: the sender hears a
        failure and sends the instance again.
        """
        try:
            os.pwrite(self._open, self._summary.hexdigest().encode(), self._digest_at)
            os.fsync(self._open)
            self._close()
            self._temporary.rename(self._path)
            sync_folder(self._path.parent)
        except BaseException:
            self.discard()
            self._path.unlink(missing_ok=True)
            raise
        return self._path.stem

    def discard(self) -> None:
        """Delete the file, unless it was committed."""
        self._close()
        self._temporary.unlink(missing_ok=True)

    @property
    def _open(self) -> int:
        if self._descriptor is None:
            raise ValueError("the file is closed")
        return self._descriptor

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _write_all(descriptor: int, data: bytes | bytearray | memoryview) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
