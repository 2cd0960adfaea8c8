"""The File Meta of a spooled file (PS3.10 7.1): ours, with a private part that says how the file came."""

import json
import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from neurotriage.core.reception import Reception
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
HOST_LIMIT: Final = 64  # an IPv6 address with its scope
ASSOCIATION_LIMIT: Final = 32
# Stands where the digest goes, which is known when the data set has come to its end.
NO_DIGEST: Final = "0" * 64


@dataclass(frozen=True, slots=True)
class AssociationInfo:
    """AE titles of both sides, the address of the peer, and our own id of the association."""

    calling_ae_title: str
    called_ae_title: str
    peer_host: str
    association_id: str = ""


@dataclass(frozen=True, slots=True)
class ReceivedInstance:
    """A complete spooled file; its data set is not parsed."""

    path: Path
    reception: Reception

    @property
    def name(self) -> str:
        return self.path.name


def file_meta(
    association: AssociationInfo, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str
) -> bytes:
    """Preamble and File Meta Information (PS3.10 table 7.1-1), group length first.

    ``NO_DIGEST`` stands once in it, for the SHA-256 (hex) of the data set that follows.
    """
    information = {
        "peer_host": association.peer_host,
        "received_at": datetime.now(UTC).isoformat(),
        "association": association.association_id,
        "digest": NO_DIGEST,
    }
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
        peer_host=peer_text(information.get("peer_host", ""), HOST_LIMIT),
        received_at=_instant(information.get("received_at")) or by_file.received_at,
        size_bytes=by_file.size_bytes - _META_START - length,
        affected_sop_instance_uid=_text(values.get(0x0003, b""), UID_LIMIT),
        association_id=peer_text(information.get("association", ""), ASSOCIATION_LIMIT),
        called_ae_title=_text(values.get(0x0018, b""), AE_TITLE_LIMIT),
        digest=_digest(information.get("digest")),
    )
    return ReceivedInstance(path, reception)


def reception_by_file(path: Path) -> Reception:
    """Time and size of a file, from an unknown peer. Raises ``OSError`` where there is no such file."""
    status = path.stat()
    return Reception("", "", datetime.fromtimestamp(status.st_mtime, UTC), status.st_size)


def _text(value: bytes, limit: int) -> str:
    return peer_text(value.decode("ascii", "replace"), limit)


def _digest(written: object) -> str:
    """A digest in hex; "" where none was written."""
    text = str(written)
    is_digest = len(text) == len(NO_DIGEST) and not set(text) - set("0123456789abcdef")
    return text if is_digest and text != NO_DIGEST else ""


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
