"""A DICOM requestor made of bytes: it says exactly what it is told to, also what no toolkit would.

PDUs by PS3.8 section 9.3, commands by PS3.7 annex E, always in Implicit VR Little Endian.
"""

import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from neurotriage.embedded.process import LOOPBACK

VERIFICATION: Final = "1.2.840.10008.1.1"
CT_IMAGE: Final = "1.2.840.10008.5.1.4.1.1.2"
MULTI_FRAME: Final = "1.2.840.10008.5.1.4.1.1.7.3"  # Multi-frame Grayscale Word Secondary Capture
EXPLICIT: Final = "1.2.840.10008.1.2.1"
IMPLICIT: Final = "1.2.840.10008.1.2"

ACCEPTED: Final = 0x02
DATA: Final = 0x04
RELEASE_RQ: Final = 0x05
STATUS: Final = 0x0900
C_STORE_RSP: Final = 0x8001
PATIENCE_S: Final = 60.0

_CONTEXTS: Final = {1: VERIFICATION, 3: CT_IMAGE, 5: MULTI_FRAME}
_CONTEXT_OF: Final = {abstract: number for number, abstract in _CONTEXTS.items()}
_APPLICATION: Final = "1.2.840.10008.3.1.1.1"
_MAX_LENGTH: Final = 16_384
_HEADER_BYTES: Final = 6
_FRAGMENT: Final = 6  # bytes in front of a fragment that count for the maximum length
_COMMAND, _LAST = 1, 2  # message control header (PS3.8 annex E.2)


def associate_rq(calling: str, called: str) -> bytes:
    """An A-ASSOCIATE-RQ for C-ECHO, CT images and multi-frame captures in uncompressed syntaxes."""
    contexts = b"".join(
        _item(
            0x20,
            bytes((number, 0, 0, 0)) + _uid(0x30, abstract) + _uid(0x40, EXPLICIT) + _uid(0x40, IMPLICIT),
        )
        for number, abstract in _CONTEXTS.items()
    )
    user = _item(0x51, struct.pack(">L", _MAX_LENGTH)) + _uid(0x52, "2.25.1")
    titles = called.ljust(16).encode() + calling.ljust(16).encode()
    body = b"\0\1\0\0" + titles + bytes(32) + _uid(0x10, _APPLICATION) + contexts + _item(0x50, user)
    return pdu(0x01, body)


def pdu(kind: int, body: bytes) -> bytes:
    """A PDU with its header."""
    return struct.pack(">BxL", kind, len(body)) + body


def fragment(context: int, data: bytes, *, command: bool = False, last: bool = True) -> bytes:
    """A P-DATA-TF with one fragment of a message."""
    control = (_COMMAND if command else 0) | (_LAST if last else 0)
    return pdu(DATA, struct.pack(">LBB", len(data) + 2, context, control) + data)


def echo_rq(message: int = 1) -> bytes:
    """A C-ECHO-RQ."""
    elements = {0x0002: _text(VERIFICATION), 0x0100: _us(0x0030), 0x0110: _us(message), 0x0800: _us(0x0101)}
    return fragment(_CONTEXT_OF[VERIFICATION], _command_set(elements), command=True)


def store_rq(sop_class: str, sop_instance: str, message: int = 1) -> bytes:
    """The command of a C-STORE-RQ; its data set follows in fragments."""
    elements = {
        0x0002: _text(sop_class),
        0x0100: _us(0x0001),
        0x0110: _us(message),
        0x0700: _us(0),
        0x0800: _us(0x0000),
        0x1000: _text(sop_instance),
    }
    return fragment(_CONTEXT_OF[sop_class], _command_set(elements), command=True)


def data_set(sop_class: str, chunks: Iterable[bytes], limit_bytes: int = _MAX_LENGTH) -> Iterator[bytes]:
    """The PDUs of a data set that comes in chunks of any size; the last one is known by what follows it."""
    context, room = _CONTEXT_OF[sop_class], limit_bytes - _FRAGMENT
    held = b""
    for chunk in chunks:
        for first in range(0, len(chunk), room):
            if held:
                yield fragment(context, held, last=False)
            held = chunk[first : first + room]
    yield fragment(context, held)


def command_of(pdu_bytes: bytes) -> Mapping[int, bytes]:
    """The elements of group 0000 in a P-DATA-TF with a whole command; empty where it is none."""
    body = pdu_bytes[_HEADER_BYTES:]
    if not pdu_bytes or pdu_bytes[0] != DATA or len(body) < _FRAGMENT or not body[5] & _COMMAND:
        return {}
    found, position = {}, _FRAGMENT
    while position + 8 <= len(body):
        group, element, length = struct.unpack_from("<HHL", body, position)
        if group == 0:
            found[element] = body[position + 8 : position + 8 + length]
        position += 8 + length
    return found


def status_of(pdu_bytes: bytes) -> int | None:
    """The status of a response; None where the PDU holds none."""
    value = command_of(pdu_bytes).get(STATUS, b"")
    return int.from_bytes(value, "little") if len(value) == 2 else None


class RawPeer:
    """One connection from ``source``. ``with RawPeer(port) as peer: ...``

    What the listener does not answer within ``PATIENCE_S`` raises ``TimeoutError``; other faults of the
    connection raise ``OSError``.
    """

    def __init__(self, port: int, source: str = LOOPBACK) -> None:
        self.connection = socket.create_connection((LOOPBACK, port), PATIENCE_S, (source, 0))
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._limit_bytes = _MAX_LENGTH

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.connection.close()

    def associate(self, calling: str, called: str = "NEUROTRIAGE") -> bool:
        """Ask for an association; whether it was accepted."""
        self.connection.sendall(associate_rq(calling, called))
        answer = self.read_pdu()
        self._limit_bytes = min(_max_length(answer), 1 << 17)
        return answer[:1] == bytes((ACCEPTED,))

    def echo(self) -> int | None:
        """The status of a C-ECHO; None where the peer closed or aborted."""
        self.connection.sendall(echo_rq())
        return status_of(self.read_pdu())

    def store(
        self, sop_class: str, sop_instance: str, chunks: Iterable[bytes], message: int = 1
    ) -> int | None:
        """The status of a C-STORE of a data set in chunks; None where the peer closed or aborted."""
        self.connection.sendall(store_rq(sop_class, sop_instance, message))
        for part in data_set(sop_class, chunks, self._limit_bytes):
            self.connection.sendall(part)
        return status_of(self.read_pdu())

    def release(self) -> None:
        """End the association."""
        self.connection.sendall(pdu(RELEASE_RQ, bytes(4)))
        self.read_pdu()

    def close_sending(self) -> None:
        """Say that nothing more will come; answers can still be read."""
        with suppress(OSError):  # the listener has closed the connection already
            self.connection.shutdown(socket.SHUT_WR)

    def read_pdu(self) -> bytes:
        """The next PDU; empty where the peer has closed the connection."""
        header = self._read(_HEADER_BYTES)
        if len(header) < _HEADER_BYTES:
            return b""
        return header + self._read(int.from_bytes(header[2:], "big"))

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count and (part := self.connection.recv(count - len(data))):
            data += part
        return data


def _max_length(accepted: bytes) -> int:
    """The maximum length of an A-ASSOCIATE-AC (PS3.8 D.1); 0 there means without limit."""
    place = accepted.rfind(b"\x51\0\0\4")
    value = int.from_bytes(accepted[place + 4 : place + 8], "big") if place >= 0 else 0
    return value or _MAX_LENGTH


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(body)) + body


def _uid(kind: int, value: str) -> bytes:
    return _item(kind, value.encode())


def _us(value: int) -> bytes:
    return struct.pack("<H", value)


def _text(value: str) -> bytes:
    return value.encode() + b"\0" * (len(value) % 2)


def _command_set(elements: Mapping[int, bytes]) -> bytes:
    body = b"".join(
        struct.pack("<HHL", 0, element, len(value)) + value for element, value in elements.items()
    )
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body
