"""The start of a DICOM file (PS3.10 7.1): what it holds and where its data set begins, by its bytes alone."""

import struct
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Final

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset, read_partial
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from neurotriage.core.errors import Refused
from neurotriage.core.values import ReasonCode
from neurotriage.dicom.headers import MALFORMED, text

PREAMBLE_BYTES: Final = 128
_PREFIX: Final = b"DICM"
_META_AT: Final = PREAMBLE_BYTES + len(_PREFIX)
# PS3.10 bounds no File Meta; real ones have a few hundred bytes, with private information a few thousand.
META_LIMIT_BYTES: Final = 1 << 16
# SOP Class and Instance UID stand in group 0008, after a character set and a few times.
HEAD_BYTES: Final = 1 << 12

# VRs with a length of 32 bits (PS3.5 7.1.2).
_LONG_VRS: Final = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)
_SOP_CLASS, _SOP_INSTANCE, _SYNTAX = 0x0002, 0x0003, 0x0010
_LAST_OF_IDENTITY: Final = 0x00080018
_STUDY: Final = 0x0020000D


@dataclass(frozen=True, slots=True)
class FileStart:
    """What a file says of itself; UIDs are empty where they are absent."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set_at: int  # offset in bytes


def file_start(start: bytes) -> FileStart | None:
    """The File Meta of a file that begins with these bytes; None where more of it are needed.

    Raises ``Refused`` (NOT_DICOM) where it is no file with preamble and File Meta.
    """
    if len(start) < _META_AT:
        return None
    if start[PREAMBLE_BYTES:_META_AT] != _PREFIX:
        raise Refused(ReasonCode.NOT_DICOM, "no DICOM file: it has no preamble (PS3.10 7.1)")
    values: dict[int, str] = {}
    position = _META_AT
    while position + 12 <= len(start):
        group, number, vr = struct.unpack_from("<HH2s", start, position)
        if group != 2:
            return _described(values, position)
        long = vr in _LONG_VRS
        (size,) = struct.unpack_from("<L" if long else "<H", start, position + (8 if long else 6))
        begin = position + (12 if long else 8)
        if begin + size > META_LIMIT_BYTES:
            raise Refused(ReasonCode.NOT_DICOM, f"the File Meta is longer than {META_LIMIT_BYTES} bytes")
        if number in (_SOP_CLASS, _SOP_INSTANCE, _SYNTAX):
            values[number] = start[begin : begin + size].decode("ascii", "replace").rstrip("\0 ")
        position = begin + size
    return None


def _described(values: dict[int, str], position: int) -> FileStart:
    if not values.get(_SYNTAX):
        raise Refused(ReasonCode.NOT_DICOM, "the File Meta names no transfer syntax")
    return FileStart(values.get(_SOP_CLASS, ""), values.get(_SOP_INSTANCE, ""), values[_SYNTAX], position)


def identified(start: FileStart, head: bytes) -> FileStart:
    """With the UIDs of the data set, whose first bytes are ``head``, where the File Meta lacks them."""
    if start.sop_class_uid and start.sop_instance_uid:
        return start
    return _with_uids(start, _read(start, head, _LAST_OF_IDENTITY))


def study_of(start: FileStart, head: bytes) -> str:
    """StudyInstanceUID of the data set that begins with ``head``; "" where it does not stand in there."""
    return text(_read(start, head, _STUDY), "StudyInstanceUID")


def _read(start: FileStart, head: bytes, last: int) -> Dataset:
    """The elements up to the tag ``last``; empty where they cannot be read."""
    implicit = start.transfer_syntax_uid == ImplicitVRLittleEndian
    little = start.transfer_syntax_uid != ExplicitVRBigEndian
    try:
        return read_dataset(BytesIO(head), implicit, little, stop_when=lambda tag, vr, length: tag > last)
    except (*MALFORMED, OSError, RecursionError):
        return Dataset()


def bare_start(head: bytes) -> FileStart:
    """Of a data set without preamble and File Meta, as older media have it, by its first bytes.

    Raises ``Refused`` (NOT_DICOM).
    """
    if head[:2] != b"\x08\x00" or head[3:4] != b"\0":
        raise Refused(ReasonCode.NOT_DICOM, "no DICOM file")
    try:
        found = read_partial(
            BytesIO(head), stop_when=lambda tag, vr, length: tag > _LAST_OF_IDENTITY, force=True
        )
        implicit = found.is_implicit_VR
    except (*MALFORMED, OSError, RecursionError):
        raise Refused(ReasonCode.NOT_DICOM, "no DICOM file") from None
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    start = _with_uids(FileStart("", "", str(syntax), 0), found)
    if not start.sop_class_uid or not start.sop_instance_uid:
        raise Refused(ReasonCode.NOT_DICOM, "no DICOM file: it names neither SOP class nor instance")
    return start


def _with_uids(start: FileStart, found: Dataset) -> FileStart:
    return replace(
        start,
        sop_class_uid=start.sop_class_uid or text(found, "SOPClassUID"),
        sop_instance_uid=start.sop_instance_uid or text(found, "SOPInstanceUID"),
    )
