"""Data elements in Explicit VR Little Endian (PS3.5 section 7.1.2), for data sets made of bytes."""

import struct
from typing import Final

_LONG: Final = (b"OB", b"OW", b"SQ", b"UN", b"UT")


def element(tag: int, vr: bytes, value: str | int | bytes) -> bytes:
    """A whole element: text, a US, or bytes as they are."""
    if isinstance(value, int):
        data = struct.pack("<H", value)
    else:
        data = value.encode("ascii") if isinstance(value, str) else value
        data += (b"\0" if vr in (b"UI", b"OB") else b" ") * (len(data) % 2)
    return header(tag, vr, len(data)) + data


def header(tag: int, vr: bytes, length: int) -> bytes:
    """What stands before a value of ``length`` bytes."""
    start = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    return start + struct.pack("<xxL" if vr in _LONG else "<H", length)
