"""The DICOM Upper Layer of one connection (PS3.8 section 9), with a deadline for every wait.

Bytes are handled as they come, from one buffer that all connections share: an idle one holds no memory.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

import structlog

from dicom_listener.association import pdus
from dicom_listener.association.messages import Messages, Violation
from dicom_listener.association.pdu_reader import PduReader

log = structlog.get_logger()

# From the connection, or the end of its TLS handshake, to the whole A-ASSOCIATE-RQ.
REQUEST_DEADLINE_S: Final = 10.0
# For a whole PDU from its first byte on, and for a peer to read what we sent: a slower one is dropped.
PDU_DEADLINE_S: Final = 10.0
SEND_DEADLINE_S: Final = 10.0
# From the A-RELEASE-RP to the close by the peer; from an A-ABORT or A-ASSOCIATE-RJ.
RELEASED_DEADLINE_S: Final = 5.0
ENDED_DEADLINE_S: Final = 1.0
# What is still read, and dropped, of a peer that was told the end.
_DRAINED_BYTES: Final = 1 << 20
# A peer that sends less than this, and completes nothing, makes no progress.
PROGRESS_BYTES: Final = 65_536
BUFFER_BYTES: Final = 1 << 18
# An object's average rate is judged after this.
_RATE_AFTER_S: Final = 10.0


class User(Protocol):
    """The service user of a connection: decides on its request and answers its messages."""

    def connected(self, layer: "UpperLayer") -> None:
        """Called first."""

    def requested(self, pdu: bytes) -> None:
        """An A-ASSOCIATE-RQ came; to be answered by ``establish`` or ``refuse``."""

    def not_dicom(self, start: bytes) -> None:
        """The first bytes are no DICOM."""

    def ended(self, *, released: bool) -> None:
        """The connection is gone, or no more is read from it. Called once."""


class UpperLayer(asyncio.BufferedProtocol):
    """One accepted connection, from its request to its end. All methods belong to the loop's thread.

    ``buffer``: shared by all connections; ``idle_s``, ``progress_s``: limits of an association without any
    traffic, and without progress; ``min_bytes_per_s``: of an object.
    """

    def __init__(
        self,
        user: User,
        peer_host: str,
        buffer: bytearray,
        *,
        idle_s: float,
        progress_s: float,
        min_bytes_per_s: float,
    ) -> None:
        self._user, self.peer_host, self._buffer = user, peer_host, buffer
        self._idle_s, self._progress_s, self._min_bytes_per_s = idle_s, progress_s, min_bytes_per_s
        self._transport: asyncio.Transport | None = None
        self._reader = PduReader(self)
        self._messages: Messages | None = None
        self._ahead = b""  # read while an answer was being made
        self._waiting = False  # for our own answer: the peer is not to blame
        self._behind = False  # our disk is
        self._waiting_since = 0.0
        self._ending = self._over = self._released = False
        self._drained_bytes = 0
        now = time.monotonic()
        self._connected_at = self._active_at = self._progressed_at = now
        self._moved_bytes = 0
        self._unsent_since: float | None = None
        self._end_by: float | None = None

    # The transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("not a stream")
        self._transport = transport
        self._connected_at = time.monotonic()
        self._user.connected(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        # A view: asyncio's TLS reads into slices of it, and a slice of a bytearray would be a copy.
        return memoryview(self._buffer)

    def buffer_updated(self, nbytes: int) -> None:
        self._active_at = time.monotonic()
        with memoryview(self._buffer) as view:
            self._feed(view[:nbytes])

    def eof_received(self) -> bool:
        return False  # the transport closes

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish()

    def pause_writing(self) -> None:
        self._unsent_since = time.monotonic()
        self._set_reading()

    def resume_writing(self) -> None:
        self._unsent_since = None
        self._set_reading()

    # The user's calls

    @property
    def is_over(self) -> bool:
        """Whether the connection is closed."""
        return self._over

    @property
    def transport(self) -> asyncio.Transport:
        """The transport. Raises ``RuntimeError`` before ``connection_made``."""
        if self._transport is None:
            raise RuntimeError("not connected")
        return self._transport

    def establish(self, answer: bytes, messages: Messages) -> None:
        """Send an A-ASSOCIATE-AC and go on with messages."""
        self._messages = messages
        self._progressed_at = time.monotonic()
        self.send(answer)
        self.go_on()

    def refuse(self, answer: bytes) -> None:
        """Send an A-ASSOCIATE-RJ or A-ABORT, and end."""
        if not self._ending:
            self.send(answer)
            self._end(ENDED_DEADLINE_S)

    def abort(self, reason: int) -> None:
        """Send an A-ABORT and end."""
        self.refuse(pdus.abort(reason))

    def close(self) -> None:
        """End without a word."""
        self._end(0.0)
        self.transport.abort()

    def send(self, data: bytes) -> None:
        """Send a PDU, unless the connection is about to end."""
        if not self._ending and not self.transport.is_closing():
            self.transport.write(data)

    def wait(self) -> None:
        """Handle nothing more of the peer until ``go_on``: its request or message is being answered."""
        self._waiting, self._waiting_since = True, time.monotonic()
        self._set_reading()

    def fall_behind(self) -> None:
        """Read no more until ``go_on``: what came is being written."""
        if not self._behind:
            self._behind, self._waiting_since = True, time.monotonic()
            self._set_reading()

    def go_on(self) -> None:
        """Handle what the peer sent meanwhile, and read on."""
        now = time.monotonic()
        waited_s = now - self._waiting_since if self._waiting or self._behind else 0.0
        self._waiting = self._behind = False
        # Our own delay is not the peer's.
        self._active_at = now
        self._progressed_at += waited_s
        if self._reader.begun_at is not None:
            self._reader.begun_at += waited_s
        data_set = self._messages.data_set if self._messages else None
        if data_set is not None:
            data_set.begun_at += waited_s
        ahead, self._ahead = self._ahead, b""
        if ahead:
            self._feed(memoryview(ahead))
        self._set_reading()

    def progressed(self) -> None:
        """A message was completed that counts as progress."""
        self._progressed_at, self._moved_bytes = time.monotonic(), 0

    def watch(self, now: float) -> None:
        """End the connection where a deadline has passed; to be called several times a second."""
        if self._over:
            return
        if self._end_by is not None:
            if now >= self._end_by:
                self.transport.abort()
            return
        if self._unsent_since is not None and now - self._unsent_since > SEND_DEADLINE_S:
            self._end_overdue("answers_not_read", after_s=SEND_DEADLINE_S)
        elif self._waiting or self._behind:
            if self._messages is None and now - self._waiting_since > REQUEST_DEADLINE_S:
                self.close()  # its request cannot be judged in time
        elif not self._reader.requested:
            if now - self._connected_at > REQUEST_DEADLINE_S or self._pdu_overdue(now):
                self.close()
        elif self._pdu_overdue(now):
            self._end_overdue("pdu_unfinished", after_s=PDU_DEADLINE_S)
        elif now - self._progressed_at > self._progress_s:
            self._end_overdue("association_without_progress", after_s=self._progress_s)
        elif self._is_slow(now):
            self._end_overdue("object_too_slow", min_bytes_per_s=self._min_bytes_per_s)
        elif now - self._active_at > self._idle_s:
            log.info("association_idle", peer_host=self.peer_host)
            self.abort(0)

    def _pdu_overdue(self, now: float) -> bool:
        return self._reader.begun_at is not None and now - self._reader.begun_at > PDU_DEADLINE_S

    def _is_slow(self, now: float) -> bool:
        data_set = self._messages.data_set if self._messages else None
        if data_set is None or now - data_set.begun_at < _RATE_AFTER_S:
            return False
        return data_set.size_bytes < self._min_bytes_per_s * (now - data_set.begun_at)

    def _end_overdue(self, event: str, **details: object) -> None:
        log.warning(event, peer_host=self.peer_host, **details)
        self.abort(0)

    # Reading

    @contextmanager
    def guard(self) -> Iterator[None]:
        """An error within ends this connection, and no other."""
        try:
            yield
        except Violation as violation:
            log.warning("protocol_violation", peer_host=self.peer_host, problem=str(violation))
            self.abort(pdus.UNEXPECTED_PDU)
        except Exception:
            log.exception("association_failed", peer_host=self.peer_host)
            self.abort(0)

    def _feed(self, view: memoryview) -> None:
        with self.guard():
            while view and not self._over:
                if self._ending:
                    self._drain(len(view))
                    return
                if self._waiting:
                    self._ahead += bytes(view)
                    return
                view = view[self._reader.take(view) :]

    # The reader's calls

    def handle_not_dicom(self, start: bytes) -> None:
        self._user.not_dicom(start)

    def handle_request(self, pdu: bytes) -> None:
        self.wait()
        self._user.requested(pdu)

    def handle_release(self) -> None:
        # Not where an object is unfinished: the study lacks it.
        self._released = self._messages is not None and self._messages.is_idle
        self.send(pdus.RELEASE_RP)
        self._end(RELEASED_DEADLINE_S)

    def handle_abort(self) -> None:
        self._end(0.0)
        self.transport.close()

    def begin_fragment(self, context_id: int, control: int) -> None:
        self._association().begin_fragment(context_id, control)

    def add_to_fragment(self, part: memoryview) -> None:
        self._moved_bytes += len(part)
        if self._moved_bytes >= PROGRESS_BYTES:
            self.progressed()
        if not self._association().add(part):
            self.fall_behind()

    def end_fragment(self) -> None:
        self._association().end_fragment()

    def _association(self) -> Messages:
        if self._messages is None:
            raise Violation("sends messages before an association is there")
        return self._messages

    def _drain(self, count: int) -> None:
        self._drained_bytes += count
        if self._drained_bytes > _DRAINED_BYTES:
            self.transport.abort()

    # Ends

    def _end(self, within_s: float) -> None:
        """Take nothing more; the connection is closed by the peer, or by us after ``within_s``."""
        if not self._ending:
            self._ending = True
            self._end_by = time.monotonic() + within_s
            self._waiting = self._behind = False
            self._ahead = b""
            self._set_reading()
            self._tell_end()

    def _finish(self) -> None:
        self._over = True
        self._tell_end()

    def _tell_end(self) -> None:
        user, self._user = self._user, _NOBODY
        user.ended(released=self._released)

    def _set_reading(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        wanted = not (self._waiting or self._behind or self._unsent_since is not None) or self._ending
        if wanted and not transport.is_reading():
            transport.resume_reading()
        elif not wanted and transport.is_reading():
            transport.pause_reading()


class _Nobody:
    """The user of a connection that has ended."""

    def connected(self, layer: UpperLayer) -> None: ...

    def requested(self, pdu: bytes) -> None: ...

    def not_dicom(self, start: bytes) -> None: ...

    def ended(self, *, released: bool) -> None: ...


_NOBODY: Final = _Nobody()
