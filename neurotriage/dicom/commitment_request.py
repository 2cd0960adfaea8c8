"""Requests for storage commitment: the Action Information of an N-ACTION (PS3.4 table J.3-1).

Read by hand: whoever answers the request must know at once whether it can be read, and no bytes of a peer may
cost more time or memory than their length allows.
"""

import re
import struct
from dataclasses import dataclass
from typing import Final

# More than the images of any study; a request for more can be divided.
MAX_REFERENCES: Final = 10_000
MAX_REQUEST_BYTES: Final = 2 << 20

# Statuses of N-ACTION (PS3.7 10.1.4.1.10, annex C).
PROCESSING_FAILURE: Final = 0x0110
NO_SUCH_SOP_INSTANCE: Final = 0x0112
INVALID_ARGUMENT: Final = 0x0115
NO_SUCH_SOP_CLASS: Final = 0x0118
NO_SUCH_ACTION: Final = 0x0123
NOT_AUTHORIZED: Final = 0x0124
RESOURCE_LIMITATION: Final = 0x0213

_TRANSACTION_UID: Final = 0x00081195
_REFERENCED_SOP_SEQUENCE: Final = 0x00081199
_REFERENCED_SOP_CLASS_UID: Final = 0x00081150
_REFERENCED_SOP_INSTANCE_UID: Final = 0x00081155
_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD
_OF_NO_VR: Final = (_ITEM, _ITEM_END, _SEQUENCE_END)
_UNDEFINED: Final = 0xFFFFFFFF
# VRs whose length has four bytes (PS3.5 7.1.2).
_LONG_VRS: Final = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)
_MAX_DEPTH: Final = 8
# Laxer than PS3.5 9.1, as for an instance that is received.
_UID: Final = re.compile(r"[0-9.]{1,64}")

Reference = tuple[str, str]  # SOP Class UID, SOP Instance UID


class RequestRefused(Exception):
    """A request that is answered with a failure: the N-ACTION status, and why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True, slots=True)
class CommitmentRequest:
    """A transaction and the distinct instances that it asks about, in their order."""

    transaction_uid: str
    references: tuple[Reference, ...]


def read_request(data: bytes, *, implicit_vr: bool) -> CommitmentRequest:
    """Read an encoded request, little endian. Raises ``RequestRefused`` with the status for the answer."""
    reader = _Reader(data, implicit_vr=implicit_vr)
    try:
        uids, references = reader.read()
    except (struct.error, IndexError) as error:
        raise _unreadable("it ends within an element") from error
    transaction_uid = uids.get(_TRANSACTION_UID, "")
    if not _UID.fullmatch(transaction_uid):
        raise RequestRefused(INVALID_ARGUMENT, "no usable Transaction UID (0008,1195)")
    if not references:
        raise RequestRefused(INVALID_ARGUMENT, "no Referenced SOP Sequence (0008,1199)")
    return CommitmentRequest(transaction_uid, tuple(dict.fromkeys(references)))


def _unreadable(why: str) -> RequestRefused:
    return RequestRefused(INVALID_ARGUMENT, f"the request cannot be read: {why}")


class _Reader:
    """Goes through the elements once, from the first byte to the last."""

    def __init__(self, data: bytes, *, implicit_vr: bool) -> None:
        self._data, self._implicit_vr = data, implicit_vr
        self._at = 0

    def read(self) -> tuple[dict[int, str], list[Reference]]:
        """The UIDs of the top level by tag, and the references."""
        uids: dict[int, str] = {}
        references: list[Reference] = []
        while self._at < len(self._data):
            tag, length = self._header()
            if tag == _REFERENCED_SOP_SEQUENCE:
                references += self._references(length)
                if len(references) > MAX_REFERENCES:
                    raise RequestRefused(RESOURCE_LIMITATION, f"more than {MAX_REFERENCES} references")
            elif tag == _TRANSACTION_UID:
                uids[tag] = self._uid(length)
            else:
                self._skip(tag, length, 0)
        return uids, references

    def _references(self, length: int) -> list[Reference]:
        end = self._end(length)
        references: list[Reference] = []
        while self._at < end:
            tag, item_length = self._header()
            if tag == _SEQUENCE_END and length == _UNDEFINED:
                break
            if tag != _ITEM:
                raise _unreadable("a sequence holds something else than items")
            references.append(self._reference(item_length))
            if len(references) > MAX_REFERENCES:
                raise RequestRefused(RESOURCE_LIMITATION, f"more than {MAX_REFERENCES} references")
        return references

    def _reference(self, length: int) -> Reference:
        end = self._end(length)
        uids: dict[int, str] = {}
        while self._at < end:
            tag, value_length = self._header()
            if tag == _ITEM_END and length == _UNDEFINED:
                break
            if tag in (_REFERENCED_SOP_CLASS_UID, _REFERENCED_SOP_INSTANCE_UID):
                uids[tag] = self._uid(value_length)
            else:
                self._skip(tag, value_length, 0)
        found = uids.get(_REFERENCED_SOP_CLASS_UID, ""), uids.get(_REFERENCED_SOP_INSTANCE_UID, "")
        if not all(map(_UID.fullmatch, found)):
            raise RequestRefused(INVALID_ARGUMENT, "a reference without usable SOP Class and Instance UID")
        return found

    def _header(self) -> tuple[int, int]:
        """Tag and length of an element, or of an item, which has no VR (PS3.5 7.1, 7.5)."""
        group, element = struct.unpack_from("<HH", self._data, self._at)
        tag = group << 16 | element
        vr = self._data[self._at + 4 : self._at + 6]
        if self._implicit_vr or tag in _OF_NO_VR:
            (length,) = struct.unpack_from("<L", self._data, self._at + 4)
            self._at += 8
        elif vr in _LONG_VRS:
            (length,) = struct.unpack_from("<L", self._data, self._at + 8)
            self._at += 12
        else:
            (length,) = struct.unpack_from("<H", self._data, self._at + 6)
            self._at += 8
        return tag, length

    def _end(self, length: int) -> int:
        end = len(self._data) if length == _UNDEFINED else self._at + length
        if end > len(self._data):
            raise _unreadable("a length goes beyond its end")
        return end

    def _uid(self, length: int) -> str:
        if length == _UNDEFINED:
            raise _unreadable("a UID without a length")
        begin, self._at = self._at, self._end(length)
        return self._data[begin : self._at].rstrip(b"\0 ").decode("ascii", "replace")

    def _skip(self, tag: int, length: int, depth: int) -> None:
        """Pass over an element of any other kind."""
        if tag in _OF_NO_VR or depth > _MAX_DEPTH:
            raise _unreadable("its items are not where they belong")
        if length != _UNDEFINED:
            self._at = self._end(length)
            return
        while (part := self._header())[0] != _SEQUENCE_END:
            if part[0] != _ITEM:
                raise _unreadable("a sequence holds something else than items")
            self._skip_item(part[1], depth)

    def _skip_item(self, length: int, depth: int) -> None:
        if length != _UNDEFINED:
            self._at = self._end(length)
            return
        while (part := self._header())[0] != _ITEM_END:
            self._skip(*part, depth + 1)
