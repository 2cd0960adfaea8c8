"""One DICOM file on its way into the spool: our File Meta, and its data set byte for byte as it comes."""

import re
from functools import cache
from types import TracebackType
from typing import Final, Self

from pydicom.uid import UID

from dicom_listener.association.contexts import supported_contexts, transfer_syntaxes
from dicom_listener.spool import AssociationInfo, Incoming, Spool
from neurotriage.core.errors import Refused
from neurotriage.dicom.part10 import HEAD_BYTES, FileStart, bare_start, file_start, identified, study_of
from neurotriage.dicom.peer_text import peer_text
from neurotriage.dicom.sop_classes import sop_class_name

# Failure reasons, as in a C-STORE response (PS3.4 B.2.3) and in a STOW-RS answer (PS3.18 table I.2-2).
OUT_OF_RESOURCES: Final = 0xA700
OTHER_STUDY: Final = 0xA900
CANNOT_UNDERSTAND: Final = 0xC000
SYNTAX_NOT_SUPPORTED: Final = 0xC122
CLASS_NOT_SUPPORTED: Final = 0x0122

_UID: Final = re.compile(r"[0-9.]{1,64}", re.ASCII)
# StudyInstanceUID stands behind groups 0008 to 0018, whose sequences and private parts may take some room.
_STUDY_HEAD_BYTES: Final = 1 << 18


class NotTaken(Exception):
    """A file that we do not take; ``failure_reason`` as in PS3.18 table I.2-2."""

    def __init__(self, failure_reason: int, text: str) -> None:
        super().__init__(text)
        self.failure_reason = failure_reason


class FileIntake:
    """A DICOM file that is fed in pieces of any size and then committed. Not thread-safe.

    ``limit_bytes`` bounds its data set (0: no bound); ``study_instance_uid``: it must be of this study;
    ``bare``: it may lack preamble and File Meta. As a context, what was not committed is discarded.
    """

    def __init__(
        self,
        spool: Spool,
        association: AssociationInfo,
        *,
        limit_bytes: int = 0,
        study_instance_uid: str = "",
        bare: bool = False,
    ) -> None:
        self._spool, self._association = spool, association
        self._limit_bytes, self._study, self._bare = limit_bytes, study_instance_uid, bare
        self._head = bytearray()
        self._incoming: Incoming | None = None
        self.start: FileStart | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """The next bytes of the file. Raises ``NotTaken``, and ``OSError`` where the disk fails."""
        if self._incoming is None:
            self._head += data
            self._begin(at_end=False)
        else:
            self._write(self._incoming, data)

    def commit(self) -> str:
        """The name in the spool, once the file is on stable storage. Raises as ``feed``."""
        if self._incoming is None:
            self._begin(at_end=True)
        if self._incoming is None or not self._incoming.size_bytes:
            raise NotTaken(CANNOT_UNDERSTAND, "the file ends before its data set")
        return self._incoming.commit()

    def discard(self) -> None:
        """Delete what came, unless it was committed."""
        self._head.clear()
        if self._incoming is not None:
            self._incoming.discard()

    def _begin(self, *, at_end: bool) -> None:
        """Open a file in the spool as soon as it is known what comes."""
        head = bytes(self._head)
        start = self.start or self._started(head, at_end)
        if start is None:
            return
        self.start = start
        data_set = head[start.data_set_at :]
        complete = bool(start.sop_class_uid and start.sop_instance_uid)
        needed_bytes = _STUDY_HEAD_BYTES if self._study else 0 if complete else HEAD_BYTES
        if len(data_set) < needed_bytes and not at_end:
            return
        self.start = start = identified(start, data_set[:HEAD_BYTES])
        require_acceptable(start)
        if self._study and study_of(start, data_set[:_STUDY_HEAD_BYTES]) != self._study:
            raise NotTaken(OTHER_STUDY, "the instance is not of the study that the request names")
        self._incoming = self._spool.begin(
            self._association,
            sop_class_uid=start.sop_class_uid,
            sop_instance_uid=start.sop_instance_uid,
            transfer_syntax_uid=start.transfer_syntax_uid,
        )
        self._head.clear()
        self._write(self._incoming, data_set)

    def _started(self, head: bytes, at_end: bool) -> FileStart | None:
        try:
            if self._bare and head[128:132] != b"DICM" and (len(head) >= HEAD_BYTES or at_end):
                return bare_start(head[:HEAD_BYTES])
            start = None if self._bare and len(head) < HEAD_BYTES and not at_end else file_start(head)
        except Refused as refused:
            raise NotTaken(CANNOT_UNDERSTAND, refused.reason.text) from refused
        if start is None and at_end:
            raise NotTaken(CANNOT_UNDERSTAND, "no DICOM file: it ends within its File Meta")
        return start

    def _write(self, incoming: Incoming, data: bytes | bytearray | memoryview) -> None:
        if self._limit_bytes and incoming.size_bytes + len(data) > self._limit_bytes:
            raise NotTaken(OUT_OF_RESOURCES, f"the data set is larger than {self._limit_bytes} bytes")
        incoming.write(data)


def require_acceptable(start: FileStart) -> None:
    """Raise ``NotTaken`` for a file that our listener would not have negotiated, either."""
    for uid in (start.sop_class_uid, start.sop_instance_uid):
        if not _UID.fullmatch(uid):
            raise NotTaken(CANNOT_UNDERSTAND, "a UID is missing, or not made of 1 to 64 digits and dots")
    if start.sop_class_uid not in _storage_classes():
        name = sop_class_name(UID(start.sop_class_uid))
        raise NotTaken(CLASS_NOT_SUPPORTED, f"{name} ({start.sop_class_uid}) is not received here")
    if start.transfer_syntax_uid not in _syntaxes():
        name = peer_text(UID(start.transfer_syntax_uid).name, 80)
        raise NotTaken(SYNTAX_NOT_SUPPORTED, f"the transfer syntax {name} is not received here")


@cache
def _storage_classes() -> frozenset[str]:
    """The storage SOP classes that the listener takes."""
    not_storage = ("1.2.840.10008.1.1", "1.2.840.10008.1.20.1")  # verification, storage commitment
    return frozenset(str(context.abstract_syntax) for context in supported_contexts()) - {*not_storage}


@cache
def _syntaxes() -> frozenset[str]:
    return frozenset(transfer_syntaxes())
