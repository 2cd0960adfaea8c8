"""The spool: a maildir that keeps received instances whole and durable until they are recorded.

``tmp`` holds files being written, ``new`` complete instances, ``reports`` storage commitment reports,
``refused`` notes of rejected presentation contexts. A file is a File Meta of our own (PS3.10 7.1) and the
data set, byte for byte as received. No part of a file name comes from the network.
"""

import errno
import fcntl
import json
import os
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from dicom_listener.refused_contexts import RefusedContexts
from neurotriage.core.errors import Unavailable
from neurotriage.core.reception import Reception
from neurotriage.core.storage import Storage, make_private, sync_folder
from neurotriage.dicom.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE
from neurotriage.dicom.peer_text import AE_TITLE_LIMIT, UID_LIMIT, peer_text
from neurotriage.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, derived_uid

# PrivateInformationCreatorUID of our File Meta, whose private part says who sent the instance, and when.
_RECEPTION_UID: Final = derived_uid("neurotriage", "reception")

_PREAMBLE: Final = bytes(128) + b"DICM"
_GROUP_LENGTH: Final = struct.Struct("<HH2sHL")  # (0002,0000) UL 4 and the bytes that follow
_META_START: Final = len(_PREAMBLE) + _GROUP_LENGTH.size
_LONG_VRS: Final = (b"OB",)
_PRIVATE_INFORMATION: Final = 0x0102
_META_LIMIT_BYTES: Final = 1 << 12  # ours are below 1 kB
_HOST_LIMIT: Final = 64  # an IPv6 address with its scope
_TIME_DIGITS: Final = 20  # of a name: nanoseconds since 1970
# Notes of rejected contexts that wait for Postgres; more would tell an admin nothing new.
_MAX_NOTES: Final = 1000


@dataclass(frozen=True, slots=True)
class AssociationInfo:
    """AE titles of both sides and the address of the peer of an association."""

    calling_ae_title: str
    called_ae_title: str
    peer_host: str


@dataclass(frozen=True, slots=True)
class ReceivedInstance:
    """A complete spooled file; its data set is not parsed."""

    path: Path
    reception: Reception

    @property
    def name(self) -> str:
        return self.path.name


class Spool:
    """The maildir of one listener; one process at a time receives into it.

    ``min_free_bytes``: free space that receiving must leave on the disk. Raises ``OSError`` where the folders
    cannot be made.
    """

    def __init__(self, storage: Storage, listener: str, *, min_free_bytes: int) -> None:
        self._storage = storage
        self._root = storage.spool(listener)
        self._tmp, self._new, self._reports, self._refused = (
            self._root / part for part in ("tmp", "new", "reports", "refused")
        )
        self._min_free_bytes = min_free_bytes
        self._lock: int | None = None
        for folder in (self._tmp, self._new, self._reports, self._refused):
            make_private(folder)

    def recover(self) -> int:
        """Lock the spool for this process and delete incomplete files; their number.

        Their senders were never answered 0x0000. Raises ``Unavailable`` while another process has the lock.
        """
        self._lock = os.open(self._root / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.close()
            raise Unavailable(f"another listener receives into {self._root}") from error
        leftovers = list(self._tmp.iterdir())
        for path in leftovers:
            path.unlink()
        return len(leftovers)

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

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

        Raises ``OSError``, and leaves no file, where that fails or would leave less than ``min_free_bytes``.
        """
        if self._storage.free_bytes() - len(data_set) < self._min_free_bytes:
            raise OSError(errno.ENOSPC, "free space is below [storage] min_free_bytes")
        meta = file_meta(association, sop_class_uid, sop_instance_uid, transfer_syntax_uid)
        name = _new_name()
        self._write(self._new / f"{name}.dcm", (meta, data_set), durable=True)
        return name

    def receive_report(
        self, association: AssociationInfo, transfer_syntax_uid: str, information: bytes | memoryview
    ) -> None:
        """Write the Event Information of a storage commitment report (PS3.4 J.3.3) as ``receive`` does."""
        if self._storage.free_bytes() - len(information) < self._min_free_bytes:
            raise OSError(errno.ENOSPC, "free space is below [storage] min_free_bytes")
        meta = file_meta(association, PUSH_MODEL, PUSH_MODEL_INSTANCE, transfer_syntax_uid)
        self._write(self._reports / f"{_new_name()}.dcm", (meta, information), durable=True)

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
        self._write(self._refused / f"{_new_name()}.json", (note,), durable=False)

    def _write(self, path: Path, parts: Sequence[bytes | memoryview], *, durable: bool) -> None:
        """Write through ``tmp``, which ``recover`` clears, not beside ``path`` as ``atomic_write`` does.

        After an error ``path`` is gone, too: the sender hears a failure and sends the instance again.
        """
        temporary = self._tmp / path.name
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with open(descriptor, "wb", buffering=0) as file:  # noqa: PTH123 - from a descriptor
                for part in parts:
                    _write_all(file.fileno(), part)
                if durable:
                    os.fsync(file.fileno())
            temporary.rename(path)
            if durable:
                sync_folder(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            raise

    def waiting(self) -> list[Path]:
        """Complete instances in order of arrival."""
        return sorted(self._new.glob("*.dcm"))

    def reports(self) -> list[Path]:
        """Storage commitment reports in order of arrival."""
        return sorted(self._reports.glob("*.dcm"))

    def refused(self) -> list[Path]:
        """Notes that ``note_refused`` wrote, in order of arrival."""
        return sorted(self._refused.glob("*.json"))


def _write_all(descriptor: int, data: bytes | memoryview) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _new_name() -> str:
    """A name that nobody else has; names sort by the time at which writing began."""
    return f"{time.time_ns():0{_TIME_DIGITS}d}-{uuid4().hex}"


def written_at(path: Path) -> datetime:
    """When writing of a spooled file began, by its name; 1970 where the name is not one of ours."""
    digits = path.name.partition("-")[0]
    is_ours = len(digits) == _TIME_DIGITS and digits.isascii() and digits.isdigit()
    return datetime.fromtimestamp(int(digits) / 1e9 if is_ours else 0.0, UTC)


def file_meta(
    association: AssociationInfo, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str
) -> bytes:
    """Preamble and File Meta Information (PS3.10 table 7.1-1), group length first."""
    information = {"peer_host": association.peer_host, "received_at": datetime.now(UTC).isoformat()}
    calling, called = (
        peer_text(title, AE_TITLE_LIMIT)
        for title in (association.calling_ae_title, association.called_ae_title)
    )
    elements = b"".join(
        _element(number, vr, value)
        for number, vr, value in (
            (0x0001, b"OB", b"\x00\x01"),
            (0x0002, b"UI", sop_class_uid),
            (0x0003, b"UI", sop_instance_uid),
            (0x0010, b"UI", transfer_syntax_uid),
            (0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
            (0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
            (0x0016, b"AE", calling),  # SourceApplicationEntityTitle
            (0x0017, b"AE", calling),  # SendingApplicationEntityTitle
            (0x0018, b"AE", called),  # ReceivingApplicationEntityTitle
            (0x0100, b"UI", _RECEPTION_UID),
            (_PRIVATE_INFORMATION, b"OB", json.dumps(information).encode()),
        )
    )
    return _PREAMBLE + _GROUP_LENGTH.pack(2, 0, b"UL", 4, len(elements)) + elements


def _element(number: int, vr: bytes, value: str | bytes) -> bytes:
    """One element of group 0002 in Explicit VR Little Endian (PS3.5 7.1.2)."""
    data = value.encode("ascii", "replace") if isinstance(value, str) else value
    if len(data) % 2:
        data += b"\0" if vr in (b"UI", b"OB") else b" "
    length = struct.pack("<xxL" if vr in _LONG_VRS else "<H", len(data))
    return struct.pack("<HH2s", 2, number, vr) + length + data


def read_received(path: Path) -> ReceivedInstance:
    """How an instance was received, by its File Meta; by the file alone where that is damaged.

    All texts are bounded and printable. Raises ``OSError`` where the file cannot be read.
    """
    by_file = reception_by_file(path)
    with path.open("rb") as file:
        meta = _meta_elements(file.read(_META_START + _META_LIMIT_BYTES))
    if meta is None:
        return ReceivedInstance(path, by_file)
    length, values = meta
    information = _information(values.get(_PRIVATE_INFORMATION, b""))
    reception = Reception(
        peer_ae_title=_text(values.get(0x0016, b""), AE_TITLE_LIMIT),
        peer_host=peer_text(information.get("peer_host", ""), _HOST_LIMIT),
        received_at=_instant(information.get("received_at")) or by_file.received_at,
        size_bytes=by_file.size_bytes - _META_START - length,
        affected_sop_instance_uid=_text(values.get(0x0003, b""), UID_LIMIT),
    )
    return ReceivedInstance(path, reception)


def reception_by_file(path: Path) -> Reception:
    """Time and size of a file, from an unknown peer. Raises ``OSError`` where there is no such file."""
    status = path.stat()
    return Reception("", "", datetime.fromtimestamp(status.st_mtime, UTC), status.st_size)


def _text(value: bytes, limit: int) -> str:
    return peer_text(value.decode("ascii", "replace"), limit)


def _instant(written: object) -> datetime | None:
    try:
        instant = datetime.fromisoformat(str(written))
    except ValueError:
        return None
    return instant if instant.tzinfo else None


def _meta_elements(start: bytes) -> tuple[int, dict[int, bytes]] | None:
    """Length of the File Meta group and its values by element number; None where it is not ours."""
    if len(start) < _META_START or not start.startswith(_PREAMBLE):
        return None
    group, element, vr, size, length = _GROUP_LENGTH.unpack_from(start, len(_PREAMBLE))
    if (group, element, vr, size) != (2, 0, b"UL", 4) or len(start) < _META_START + length:
        return None
    values: dict[int, bytes] = {}
    position, end = _META_START, _META_START + length
    while position + 12 <= end:
        number, vr = struct.unpack_from("<xxH2s", start, position)
        long = vr in _LONG_VRS
        (size,) = struct.unpack_from("<L" if long else "<H", start, position + (8 if long else 6))
        position += 12 if long else 8
        values[number] = start[position : position + size]
        position += size
    return length, values


def _information(data: bytes) -> dict[str, Any]:
    try:
        information = json.loads(data.rstrip(b"\0"))
    except ValueError:
        return {}
    return information if isinstance(information, dict) else {}
