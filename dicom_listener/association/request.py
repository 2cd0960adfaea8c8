"""Repairs an A-ASSOCIATE-RQ (PS3.8 9.3.2) before pynetdicom decodes it.

pynetdicom aborts an association, without logging who requested it, for an AE title that is padded with NUL or
not ASCII and for a UID of more than 64 characters. Here only the invalid value is replaced, and the original
is kept for the log.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from neurotriage.dicom.uids import derived_uid

ASSOCIATE_RQ: Final = 0x01
_CALLED: Final = slice(10, 26)
_CALLING: Final = slice(26, 42)
_ITEMS_START: Final = 74
_APPLICATION_CONTEXT: Final = 0x10
_PRESENTATION_CONTEXT: Final = 0x20
_ABSTRACT_SYNTAX: Final = 0x30
_TRANSFER_SYNTAX: Final = 0x40
_USER_INFORMATION: Final = 0x50
_IMPLEMENTATION_CLASS_UID: Final = 0x52
_IMPLEMENTATION_VERSION_NAME: Final = 0x55
# Role selection and (common) extended negotiation: a length, a SOP class UID, and more.
_OF_A_SOP_CLASS: Final = (0x54, 0x56, 0x57)

_UID: Final = re.compile(rb"[0-9.]{1,64}")
# In place of an invalid UID: a UID that nobody supports.
_STAND_IN: Final = derived_uid("neurotriage", "unreadable UID").encode()
_NO_TITLE: Final = b"?".ljust(16)
_SHOWN: Final = 64
_PADDING: Final = b"\0 "


@dataclass(frozen=True, slots=True)
class Title:
    """An AE title without padding; escaped, and not ``usable``, where it holds an invalid character."""

    text: str
    usable: bool


@dataclass(frozen=True, slots=True)
class Request:
    """The repaired PDU, and the values as they were sent."""

    pdu: bytes
    called: Title
    calling: Title
    # As sent, escaped and cut: invalid abstract syntaxes by context ID, and all invalid UIDs.
    abstract_syntaxes: dict[int, str] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()


class _Malformed(Exception):
    """An item is longer than the one that contains it."""


def readable(pdu: bytes) -> Request:
    """Replace every invalid AE title and UID in an A-ASSOCIATE-RQ PDU, given with its header.

    Where the lengths of items do not match, they are left alone: pynetdicom rejects the PDU.
    """
    called, calling = title_of(pdu[_CALLED]), title_of(pdu[_CALLING])
    repair = _Repair()
    try:
        items = repair.items(pdu[_ITEMS_START:])
    except (_Malformed, struct.error):
        repair, items = _Repair(), pdu[_ITEMS_START:]
    titles = b"".join(t.text.encode().ljust(16) if t.usable else _NO_TITLE for t in (called, calling))
    body = pdu[6 : _CALLED.start] + titles + pdu[_CALLING.stop : _ITEMS_START] + items
    if len(pdu) < _ITEMS_START:
        body = pdu[6:]
    whole = struct.pack(">BBL", pdu[0], 0, len(body)) + body
    return Request(whole, called, calling, repair.abstract_syntaxes, tuple(repair.unreadable))


def title_of(value: bytes) -> Title:
    """The AE title in a field of 16 bytes (PS3.5 table 6.2-1: no backslash, no control characters)."""
    text = value.strip(_PADDING)
    usable = bool(text) and all(0x20 <= byte < 0x7F and byte != 0x5C for byte in text)
    return Title(escaped(text), usable)


def escaped(value: bytes, limit: int = _SHOWN) -> str:
    """Received bytes as printable ASCII for a log, others as ``\\xNN``, cut to ``limit`` characters."""
    shown = "".join(chr(b) if 0x20 <= b < 0x7F and b != 0x5C else f"\\x{b:02x}" for b in value[:limit])
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."


class _Repair:
    """Walks the items of one request and records the values that it replaced."""

    def __init__(self) -> None:
        self.abstract_syntaxes: dict[int, str] = {}
        self.unreadable: list[str] = []

    def items(self, data: bytes) -> bytes:
        return b"".join(self._item(kind, value) for kind, value in _parts(data))

    def _item(self, kind: int, value: bytes) -> bytes:
        if kind == _APPLICATION_CONTEXT:
            return _encoded(kind, self._uid(value) or _STAND_IN)
        if kind == _PRESENTATION_CONTEXT:
            return _encoded(kind, value[:4] + self._context(value[0] if value else 0, value[4:]))
        if kind == _USER_INFORMATION:
            return _encoded(kind, b"".join(self._information(*part) for part in _parts(value)))
        return _encoded(kind, value)

    def _context(self, context_id: int, data: bytes) -> bytes:
        items, syntaxes = [], []
        for kind, value in _parts(data):
            if kind == _ABSTRACT_SYNTAX:
                uid = self._uid(value)
                if uid is None:
                    self.abstract_syntaxes[context_id] = escaped(value)
                items.append(_encoded(kind, uid or _STAND_IN))
            elif kind == _TRANSFER_SYNTAX:
                syntaxes.append(self._uid(value))
            else:
                items.append(_encoded(kind, value))
        if not any(kind == _ABSTRACT_SYNTAX for kind, _ in _parts(data)):
            items.append(_encoded(_ABSTRACT_SYNTAX, _STAND_IN))  # pynetdicom fails on a context without one
        usable = [uid for uid in syntaxes if uid is not None] or [_STAND_IN]
        return b"".join([*items, *(_encoded(_TRANSFER_SYNTAX, uid) for uid in usable)])

    def _information(self, kind: int, value: bytes) -> bytes:
        if kind == _IMPLEMENTATION_CLASS_UID:
            return _encoded(kind, self._uid(value) or _STAND_IN)
        if kind == _IMPLEMENTATION_VERSION_NAME:
            return _encoded(kind, bytes(b if 0x20 <= b < 0x7F else 0x3F for b in value.strip(_PADDING)[:16]))
        if kind in _OF_A_SOP_CLASS:
            (length,) = struct.unpack_from(">H", value)
            if self._uid(value[2 : 2 + length]) is None:
                return b""
        return _encoded(kind, value)

    def _uid(self, value: bytes) -> bytes | None:
        """The UID without padding; None where it is invalid."""
        uid = value.strip(_PADDING)
        if _UID.fullmatch(uid):
            return uid
        self.unreadable.append(escaped(value))
        return None


def _parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and value of each item (PS3.8 9.3.2: type, reserved, length in two bytes)."""
    position = 0
    while position < len(data):
        kind, length = struct.unpack_from(">BxH", data, position)
        position += 4
        if position + length > len(data):
            raise _Malformed
        yield kind, data[position : position + length]
        position += length


def _encoded(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value
