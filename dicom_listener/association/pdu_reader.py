"""Takes the PDUs of one connection apart as their bytes come (PS3.8 9.3), without keeping a fragment."""

import time
from collections.abc import Callable
from typing import Final, Protocol

from dicom_listener.association import pdus
from dicom_listener.association.messages import Violation
from dicom_listener.association.negotiation import MAX_PDU_BYTES

# A request of 128 contexts with 30 transfer syntaxes each has 160 kB.
MAX_REQUEST_BYTES: Final = 262_144
# A little more than our maximum, for senders that do not count the header.
_PDU_SLACK_BYTES: Final = 1024
_MAX_OTHER_BYTES: Final = 1024


class PduHandler(Protocol):
    """Gets what a ``PduReader`` finds, each at the byte that completes it."""

    def handle_not_dicom(self, start: bytes) -> None:
        """The first bytes are no DICOM."""

    def handle_request(self, pdu: bytes) -> None:
        """A whole A-ASSOCIATE-RQ."""

    def handle_release(self) -> None: ...

    def handle_abort(self) -> None: ...

    def begin_fragment(self, context_id: int, control: int) -> None:
        """A fragment of a message begins; ``control``: its message control header (PS3.8 E.2)."""

    def add_to_fragment(self, part: memoryview) -> None: ...

    def end_fragment(self) -> None: ...


class PduReader:
    """The reading half of a connection. What breaks the protocol raises ``Violation``."""

    def __init__(self, handler: PduHandler) -> None:
        self._handler = handler
        self._take: Callable[[memoryview], int] = self._take_header
        self._small = bytearray()  # of a header or a short PDU that came in parts
        self._type, self._left_bytes, self._item_left_bytes = 0, 0, 0
        self.requested = False  # a whole A-ASSOCIATE-RQ came
        self.begun_at: float | None = None  # of an unfinished PDU: its first byte, monotonic

    def take(self, view: memoryview) -> int:
        """Handle the first bytes of ``view``, at least one; their number."""
        return self._take(view)

    def _take_header(self, view: memoryview) -> int:
        if self.begun_at is None:
            self.begun_at = time.monotonic()
        taken = self._collect(view, pdus.HEADER.size)
        if not self.requested and self._small[0] not in (pdus.ASSOCIATE_RQ, pdus.ABORT):
            self._handler.handle_not_dicom(bytes(self._small))
            return taken
        if len(self._small) < pdus.HEADER.size:
            return taken
        self._type, length = pdus.HEADER.unpack(self._small)
        self._left_bytes = length
        self._small.clear()
        self._require_length(length)
        if self._type == pdus.P_DATA_TF:
            self._take = self._take_item_header if length else self._take_header
            if not length:
                self.begun_at = None
        else:
            self._small += pdus.HEADER.pack(self._type, length)
            self._take = self._take_body
            if not length:
                self._end_body()
        return taken

    def _require_length(self, length: int) -> None:
        expected = pdus.P_DATA_TF if self.requested else pdus.ASSOCIATE_RQ
        if self._type not in (expected, pdus.RELEASE_RQ, pdus.ABORT):
            raise Violation(f"sends a PDU of type {self._type}, which is not due")
        if self._type == pdus.P_DATA_TF:
            limit = MAX_PDU_BYTES + _PDU_SLACK_BYTES
        else:
            limit = MAX_REQUEST_BYTES if self._type == expected else _MAX_OTHER_BYTES
        if length > limit:
            raise Violation(f"announces a PDU of {length} bytes")

    def _take_body(self, view: memoryview) -> int:
        taken = self._collect(view, pdus.HEADER.size + self._left_bytes)
        if len(self._small) == pdus.HEADER.size + self._left_bytes:
            self._end_body()
        return taken

    def _end_body(self) -> None:
        """A whole PDU other than P-DATA-TF."""
        pdu = bytes(self._small)
        self._begin_pdu()
        if self._type == pdus.ASSOCIATE_RQ:
            self.requested = True
            self._handler.handle_request(pdu)
        elif self._type == pdus.ABORT:
            self._handler.handle_abort()
        else:
            self._handler.handle_release()

    def _take_item_header(self, view: memoryview) -> int:
        taken = self._collect(view, pdus.ITEM_HEADER.size)
        if len(self._small) < pdus.ITEM_HEADER.size:
            return taken
        length, context_id, control = pdus.ITEM_HEADER.unpack(self._small)
        self._small.clear()
        self._left_bytes -= pdus.ITEM_HEADER.size
        self._item_left_bytes = length - pdus.ITEM_PREFIX_BYTES
        if length < pdus.ITEM_PREFIX_BYTES or self._item_left_bytes > self._left_bytes:
            raise Violation("sends an item that does not fit its PDU")
        self._handler.begin_fragment(context_id, control)
        self._take = self._take_fragment
        if not self._item_left_bytes:
            self._end_fragment()
        return taken

    def _take_fragment(self, view: memoryview) -> int:
        part = view[: self._item_left_bytes]
        self._item_left_bytes -= len(part)
        self._left_bytes -= len(part)
        self._handler.add_to_fragment(part)
        if not self._item_left_bytes:
            self._end_fragment()
        return len(part)

    def _end_fragment(self) -> None:
        if self._left_bytes:
            if self._left_bytes < pdus.ITEM_HEADER.size:
                raise Violation("sends an item that does not fit its PDU")
            self._take = self._take_item_header
        else:
            self._begin_pdu()
        self._handler.end_fragment()

    def _begin_pdu(self) -> None:
        self._small.clear()
        self._take = self._take_header
        self.begun_at = None

    def _collect(self, view: memoryview, size: int) -> int:
        """Append to ``_small`` up to ``size`` bytes in all; the number taken."""
        part = view[: size - len(self._small)]
        self._small += part
        return len(part)
