"""The spool: a maildir that keeps received instances whole and durable until they are recorded.

``tmp`` holds files being written, ``new`` complete instances, ``reports`` storage commitment reports,
``commitments`` notes of requests for it, ``refused`` of rejected presentation contexts, ``rejected`` of
associations, ``ended`` of how the others ended. A file is a File Meta of our own (PS3.10 7.1) and the data
set, byte for byte as received.
No part of a file name comes from the network.
"""

import errno
import fcntl
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

from dicom_listener.refused_associations import RefusedAssociations
from dicom_listener.refused_contexts import RefusedContexts
from dicom_listener.spool.commitments import RequestedCommitment
from dicom_listener.spool.ended import EndedAssociation
from dicom_listener.spool.file_meta import AssociationInfo, file_meta
from dicom_listener.spool.incoming import Incoming
from dicom_listener.spool.listing import by_arrival
from dicom_listener.spool.room import Room
from neurotriage.core.errors import Unavailable
from neurotriage.core.settings import StorageSettings
from neurotriage.core.spool_files import new_name
from neurotriage.core.storage import Storage, make_private, write_durably
from neurotriage.dicom.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE

# Notes of each kind that wait for Postgres; more would tell an admin nothing new.
_MAX_NOTES: Final = 1000
# Notes of ended associations; without one, a study only waits for its quiet timer.
_MAX_ENDED: Final = 10_000


class Spool:
    """The maildir of one process that receives; the lock keeps any other out.

    ``min_free_bytes``: free space that receiving must leave on the disk; ``resume_free_bytes``: with which it
    begins again once there was less. Raises ``OSError`` where the folders cannot be made.
    """

    def __init__(
        self, storage: Storage, name: str, *, min_free_bytes: int, resume_free_bytes: int = 0
    ) -> None:
        self._root = storage.spool(name)
        self._tmp, self._new, self._reports = (self._root / part for part in ("tmp", "new", "reports"))
        self._refused, self._rejected, self._ended = (
            self._root / part for part in ("refused", "rejected", "ended")
        )
        self._commitments = self._root / "commitments"
        self._lock: int | None = None
        folders = (self._tmp, self._new, self._reports, self._refused, self._rejected, self._ended)
        for folder in (*folders, self._commitments):
            make_private(folder)
        self.room = Room(storage.free_bytes, min_free_bytes, resume_free_bytes)

    def recover(self) -> int:
        """Lock the spool for this process and delete incomplete files; their number.

        Their senders were never answered 0x0000. Raises ``Unavailable`` while another process has the lock.
        """
        self._lock = os.open(self._root / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.close()
            raise Unavailable(f"another process receives into {self._root}") from error
        leftovers = list(self._tmp.iterdir())
        for path in leftovers:
            path.unlink()
        return len(leftovers)

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def begin(
        self,
        association: AssociationInfo,
        *,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
    ) -> Incoming:
        """Begin to receive a data set, which is then written as it comes, and committed or discarded.

        Raises ``OSError``, and leaves no file, where the disk fails or is short of space.
        """
        meta = file_meta(association, sop_class_uid, sop_instance_uid, transfer_syntax_uid)
        return self._begin(self._new, meta)

    def begin_report(self, association: AssociationInfo, transfer_syntax_uid: str) -> Incoming:
        """As ``begin``, for the Event Information of a storage commitment report (PS3.4 J.3.3)."""
        return self._begin(
            self._reports, file_meta(association, PUSH_MODEL, PUSH_MODEL_INSTANCE, transfer_syntax_uid)
        )

    def receive(
        self,
        association: AssociationInfo,
        *,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        data_set: bytes | memoryview,
    ) -> str:
        """Write an encoded data set as received; the name of the file, once it is on stable storage.

        Raises ``OSError``, and leaves no file, where that fails or the disk is short of space.
        """
        incoming = self.begin(
            association,
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            transfer_syntax_uid=transfer_syntax_uid,
        )
        with incoming:
            incoming.write(data_set)
            return incoming.commit()

    def _begin(self, folder: Path, meta: bytes) -> Incoming:
        return Incoming(self._tmp, folder, new_name(), meta, self.room.require)

    def note_refused(
        self, association: AssociationInfo, contexts: Sequence[tuple[str, Sequence[str]]]
    ) -> None:
        """Note the rejected presentation contexts (SOP class, transfer syntaxes) of an association.

        Raises ``OSError`` where it cannot be written, or 1000 notes wait already.
        """
        if len(self.refused()) >= _MAX_NOTES:
            raise OSError(errno.EDQUOT, f"{_MAX_NOTES} notes wait to be recorded")
        peer = association.calling_ae_title, association.peer_host
        note = RefusedContexts.of(peer, contexts).to_json()
        self._write_note(self._refused, note)

    def note_rejected(self, refusals: RefusedAssociations) -> None:
        """Note refused associations. Raises ``OSError`` as ``note_refused`` does."""
        if len(self.rejected()) >= _MAX_NOTES:
            raise OSError(errno.EDQUOT, f"{_MAX_NOTES} notes wait to be recorded")
        self._write_note(self._rejected, refusals.to_json())

    def note_ended(self, association: AssociationInfo, *, released: bool) -> None:
        """Note that an association has ended, after its last instance was committed or discarded.

        ``released``: by A-RELEASE, and not by an abort, a timeout or a lost connection. Raises ``OSError``
        where it cannot be written, or 10,000 notes wait already.
        """
        if sum(1 for _ in self._ended.iterdir()) >= _MAX_ENDED:
            raise OSError(errno.EDQUOT, f"{_MAX_ENDED} notes wait to be recorded")
        self._write_note(self._ended, EndedAssociation.of(association, released=released).to_json())

    def note_commitment(self, requested: RequestedCommitment) -> None:
        """Note a request for storage commitment durably: whoever made it will be told that it was taken.

        Raises ``OSError`` where it cannot be written, or 1000 notes wait already.
        """
        if sum(1 for _ in self._commitments.iterdir()) >= _MAX_NOTES:
            raise OSError(errno.EDQUOT, f"{_MAX_NOTES} notes wait to be recorded")
        note = requested.to_json()
        self.room.require(len(note))
        write_durably(self._commitments / f"{new_name()}.json", note)

    def _write_note(self, folder: Path, note: bytes) -> None:
        """A note may be lost in a power cut, but is never half there."""
        name = f"{new_name()}.json"
        temporary = self._tmp / name
        try:
            temporary.write_bytes(note)
            temporary.rename(folder / name)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def waiting(self, known: Collection[str] = ()) -> list[Path]:
        """Complete instances in order of arrival, without the names that are ``known``."""
        return by_arrival([self._new], ".dcm", known)

    def reports(self, known: Collection[str] = ()) -> list[Path]:
        """Storage commitment reports in order of arrival, without the names that are ``known``."""
        return by_arrival([self._reports], ".dcm", known)

    def refused(self) -> list[Path]:
        """Notes that ``note_refused`` wrote, in order of arrival."""
        return by_arrival([self._refused], ".json")

    def rejected(self) -> list[Path]:
        """Notes that ``note_rejected`` wrote, in order of arrival."""
        return by_arrival([self._rejected], ".json")

    def ended(self) -> list[Path]:
        """Notes that ``note_ended`` wrote, in order of arrival."""
        return by_arrival([self._ended], ".json")

    def commitments(self) -> list[Path]:
        """Notes that ``note_commitment`` wrote, in order of arrival."""
        return by_arrival([self._commitments], ".json")


def open_spool(settings: StorageSettings, name: str) -> Spool:
    """The spool of a process that receives, with the free space that the settings ask for.

    Raises ``OSError`` where its folders cannot be made.
    """
    storage = Storage(settings.root)
    make_private(storage.spools)
    total_bytes = storage.total_bytes()
    return Spool(
        storage,
        name,
        min_free_bytes=settings.reserved_bytes(total_bytes),
        resume_free_bytes=max(
            settings.resume_free_bytes, int(settings.resume_free_percent * total_bytes / 100)
        ),
    )
