"""Takes the DICOM files of a folder into a spool; a second run repeats nothing."""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final
from uuid import uuid4

from dicom_listener.files.folder import FolderFiles, Skipped, name_within, open_regular
from dicom_listener.files.intake import FileIntake, NotTaken
from dicom_listener.spool import AssociationInfo, BackPressure, Spool, note_end, read_received
from neurotriage.core.errors import Refused, Unavailable
from neurotriage.core.reception import IMPORT_AE_TITLE
from neurotriage.core.storage import Storage
from neurotriage.dicom.part10 import META_LIMIT_BYTES, file_start

SPOOL: Final = "import"
_LOOPBACK: Final = "127.0.0.1"
_CHUNK_BYTES: Final = 1 << 20
_MAX_NAMED: Final = 1000  # refused files that are kept by name; the rest is counted


@dataclass(slots=True)
class Summary:
    """The ends of the files of a folder."""

    taken: int = 0
    repeated: int = 0  # their data set is in spool or store already, byte for byte
    other_files: int = 0  # no DICOM files
    reasons: Counter[str] = field(default_factory=Counter)  # refused files by reason
    refused: list[Skipped] = field(default_factory=list)  # the first 1000 of them

    def refuse(self, skipped: Skipped) -> None:
        self.reasons[skipped.reason] += 1
        if len(self.refused) < _MAX_NAMED:
            self.refused.append(skipped)


class FolderImport:
    """One import. ``spool`` is that of imports, which the caller has locked (``Spool.recover``)."""

    def __init__(self, storage: Storage, spool: Spool, called_ae_title: str) -> None:
        self._storage, self._spool = storage, spool
        self._association = AssociationInfo(
            IMPORT_AE_TITLE, called_ae_title, _LOOPBACK, association_id=uuid4().hex
        )
        # Of files that wait in the spool; the store has those that are recorded.
        self._waiting = {read_received(path).reception.digest for path in spool.waiting()}
        self._pressure = BackPressure(spool)

    def run(self, root: Path, found: FolderFiles, on_file: Callable[[], object]) -> Summary:
        """Take every file; ``on_file`` is called after each.

        It waits while the spool holds many files. Raises ``Unavailable`` where the storage fails or is short
        of space, or nobody records: what was taken is durable, and the next run goes on behind it.
        """
        summary = Summary()
        for skipped in found.skipped:
            summary.refuse(skipped)
        for path in found.files:
            self._pressure.await_room()
            self._take(root, path, summary)
            on_file()
        if summary.taken:
            note_end(self._spool, self._association, released=True)
        return summary

    def _take(self, root: Path, path: Path, summary: Summary) -> None:
        try:
            descriptor = open_regular(path)
        except OSError as error:
            summary.refuse(Skipped(name_within(root, path), f"cannot be opened: {error.strerror}"))
            return
        try:
            digest = self._digest(descriptor)
            if digest in self._waiting or self._storage.stored_instance(digest).exists():
                summary.repeated += 1
                return
            self._copy(descriptor)
        except _OtherFile:
            summary.other_files += 1
        except _Unreadable as error:
            summary.refuse(Skipped(name_within(root, path), f"cannot be read: {error}"))
        except NotTaken as refused:
            summary.refuse(Skipped(name_within(root, path), str(refused)))
        except OSError as error:
            raise Unavailable(f"the storage takes no more: {error.strerror}") from error
        else:
            self._waiting.add(digest)
            self._pressure.taken()
            summary.taken += 1
        finally:
            os.close(descriptor)

    def _copy(self, descriptor: int) -> None:
        with FileIntake(self._spool, self._association, bare=True) as intake:
            position = 0
            while data := _read(descriptor, position):
                intake.feed(data)
                position += len(data)
            intake.commit()

    def _digest(self, descriptor: int) -> str:
        """SHA-256 of the data set. Raises ``_OtherFile`` where it cannot be a DICOM file."""
        start = _read(descriptor, 0, META_LIMIT_BYTES)
        position = 0
        if start[128:132] == b"DICM":
            try:
                described = file_start(start)
            except Refused as refused:
                raise _Unreadable(refused.reason.text) from refused
            if described is None:
                raise _Unreadable("it ends within its File Meta")
            position = described.data_set_at
        elif start[:2] != b"\x08\x00":  # a data set begins with group 0008
            raise _OtherFile
        digest = sha256()
        while data := _read(descriptor, position):
            digest.update(data)
            position += len(data)
        return digest.hexdigest()


class _OtherFile(Exception):
    """No DICOM file: a viewer, a picture, a text."""


class _Unreadable(Exception):
    """The file, or the medium on which it lies, is damaged."""


def _read(descriptor: int, position: int, size_bytes: int = _CHUNK_BYTES) -> bytes:
    try:
        return os.pread(descriptor, size_bytes, position)
    except OSError as error:  # a scratched disc is no fault of the storage
        raise _Unreadable(error.strerror) from error
