"""pynetdicom's acceptor with a deadline for every wait and a limit for every buffer.

pynetdicom 3.0.4 waits for ever inside a PDU, trusts any PDU length, queues without limit and gives a slot to
each connection that never requests an association. The classes here replace those parts. They use private
names of pynetdicom: ``tests/listener/test_transport.py`` fails when an upgrade changes one.
"""

import math
import select
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from socket import SHUT_RDWR, socket
from socketserver import BaseServer
from typing import Any, Final, Self, cast

import structlog
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_P_ABORT
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from dicom_listener.association.messages import GuardedMessages
from dicom_listener.association.request import ASSOCIATE_RQ, Request, readable
from dicom_listener.association.shares import Shares

log = structlog.get_logger()

# For a whole PDU from its first byte on, and for each write: a slower peer is dropped.
PDU_DEADLINE_S: Final = 10.0
SEND_DEADLINE_S: Final = 10.0
# From the connection to the A-ASSOCIATE-RQ (also pynetdicom's ARTIM timer).
REQUEST_DEADLINE_S: Final = 10.0
# Our maximum PDU length (PS3.8 D.1), and a little more for senders that do not count the header.
MAX_PDU_BYTES: Final = 131_072
_PDU_SLACK_BYTES: Final = 1024
# Connections beyond ``max_associations``, so that a peer above it gets an A-ASSOCIATE-RJ; one address may
# take half of them.
SPARE_CONNECTIONS: Final = 32
# Connections of unknown addresses take no places of peers. A few are accepted, to be rejected with a reason.
STRANGER_CONNECTIONS: Final = 8
_CONNECTIONS_PER_STRANGER: Final = 4
# Refused connections are logged at most once in this time.
_LOG_INTERVAL_S: Final = 1.0
# For A-ABORTs to be sent when the process stops.
_ABORT_S: Final = 1.0
# PS3.8 table 9-6, Evt17: the connection is closed.
_CLOSED: Final = "Evt17"


class GuardedSocket(AssociationSocket):
    """Reads and writes with deadlines; accepts no PDU longer than our maximum."""

    def __init__(self, association: Association, client_socket: socket) -> None:
        super().__init__(association, client_socket=client_socket)
        self._poll = select.poll()  # unlike select(), also for descriptors above 1023
        self._poll.register(client_socket, select.POLLIN)
        self._deadline = 0.0
        self._at_header = True

    @property
    def ready(self) -> bool:
        """True when there is something to read."""
        if self.socket is None or not self._is_connected:
            return False
        try:
            pending = isinstance(self.socket, ssl.SSLSocket) and self.socket.pending() > 0
            return pending or bool(self._poll.poll(0))
        except (OSError, ValueError):
            self.event_queue.put(_CLOSED)
            return False

    def recv(self, nr_bytes: int) -> bytearray:
        """Read ``nr_bytes``: the header of a PDU, then its rest within the same deadline.

        Returns fewer bytes only where the peer closed the connection. Raises ``OSError`` past the deadline
        or for a PDU that is too long.
        """
        if self._at_header:
            self._deadline = time.monotonic() + PDU_DEADLINE_S
        elif nr_bytes > MAX_PDU_BYTES + _PDU_SLACK_BYTES:
            raise ConnectionAbortedError(f"a PDU of {nr_bytes} bytes was announced")
        self._at_header = not self._at_header
        connection = cast(socket, self.socket)
        data = bytearray(nr_bytes)
        view, read = memoryview(data), 0
        while read < nr_bytes:
            remaining_s = self._deadline - time.monotonic()
            if remaining_s <= 0:
                raise TimeoutError("the peer stopped in the middle of a PDU")
            connection.settimeout(remaining_s)
            count = connection.recv_into(view[read:])
            if not count:
                return bytearray(view[:read])
            read += count
        return data

    def send(self, bytestream: bytes) -> None:
        """Send all bytes; a peer that does not read them within the deadline is dropped."""
        connection = cast(socket, self.socket)
        try:
            connection.settimeout(SEND_DEADLINE_S)
            connection.sendall(bytestream)
        except OSError:
            self.event_queue.put(_CLOSED)

    def _shutdown_socket(self) -> None:
        close(self.socket)


class GuardedRequest(RequestHandler):
    """Creates the association of a connection, with our socket and limits."""

    server: "GuardedServer"

    def _create_association(self) -> Association:
        association = super()._create_association()
        # pynetdicom's socket has queued the event for the new connection; ours queues it again.
        association.dul.event_queue.get_nowait()
        association.dul.socket = GuardedSocket(association, self.request)
        association.dul.daemon = True  # a peer stuck in a PDU must not keep the process alive
        association.dul._decode_pdu = partial(  # type: ignore[method-assign]
            _decode, association, association.dul._decode_pdu
        )
        for part, step in ((association.acse, "negotiate_association"), (association, "_run_reactor")):
            setattr(part, step, partial(_abort_on_error, association, getattr(part, step)))
        association.dimse = GuardedMessages(association, self.server.progress_timeout_s)
        association.bind(evt.EVT_CONN_CLOSE, _end_unrequested)
        return association


def request_of(association: Association) -> Request | None:
    """The repaired A-ASSOCIATE-RQ of an association; None before it has come."""
    return cast(GuardedMessages, association.dimse).request


def _decode(association: Association, decode: Callable[[bytearray], Any], data: bytearray) -> Any:
    """Decode a PDU for the state machine; an error is logged with the address of the peer."""
    if data[0] == ASSOCIATE_RQ:
        request = readable(bytes(data))
        cast(GuardedMessages, association.dimse).request = request
        data = bytearray(request.pdu)
    try:
        return decode(data)
    except Exception as error:
        log.warning(
            "pdu_decode_failed",
            peer_host=association.requestor.address,
            pdu_type=data[0],
            error=type(error).__name__,
        )
        raise


def _abort_on_error(association: Association, step: Callable[[], None]) -> None:
    """Abort the association on an error in its thread, which would otherwise leave the connection open."""
    try:
        step()
    except Exception:
        log.exception("association_failed", peer_host=association.requestor.address)
        association.abort()


def _end_unrequested(event: evt.Event) -> None:
    """End the threads of a connection that closes before its A-ASSOCIATE-RQ now, not at the deadline."""
    association = event.assoc
    if association.requestor.primitive is None:
        association.is_aborted = True
        association.dul.to_user_queue.put(A_P_ABORT())


class _Contexts(list[PresentationContext]):
    """Presentation contexts shared by all associations; pynetdicom would copy them for each."""

    def __deepcopy__(self, memo: object) -> Self:
        return self


@dataclass(frozen=True, slots=True)
class _Connection:
    address: str
    host: str | None  # as configured; None for a stranger


class GuardedServer(ThreadedAssociationServer):
    """Accepts connections up to a limit: in all, per address, and in fair shares for configured hosts.

    ``host_of`` gives, without waiting, the configured host of an address; None for a stranger.
    """

    request_queue_size = 128
    daemon_threads = True

    def __init__(
        self,
        entity: AE,
        address: tuple[str, int],
        contexts: list[PresentationContext],
        handlers: list[evt.EventHandlerType],
        *,
        max_associations: int,
        progress_timeout_s: float,
        hosts: Iterable[str],
        host_of: Callable[[str], str | None],
    ) -> None:
        self.progress_timeout_s = progress_timeout_s
        self._host_of = host_of
        self._shares = Shares(max_associations + SPARE_CONNECTIONS, hosts)
        self._connections: dict[socket, _Connection] = {}
        self._refused = 0
        self._logged_at = -math.inf
        # pynetdicom's own limit, above ours: connections are counted here, associations in ``Admission``.
        entity.maximum_associations = self._shares.places + STRANGER_CONNECTIONS
        super().__init__(
            entity,
            address,
            entity.ae_title,
            _Contexts(contexts),
            evt_handlers=handlers,
            request_handler=GuardedRequest,
        )

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether to serve a connection; False closes it before it costs a thread."""
        address = str(client_address[0])
        self._connections = {s: c for s, c in self._connections.items() if s.fileno() != -1}
        connection = _Connection(address, self._host_of(address))
        if not self._has_room(connection):
            self._log_refused(connection)
            return False
        self._connections[request] = connection
        return True

    def _has_room(self, new: _Connection) -> bool:
        others = [c for c in self._connections.values() if (c.host is None) == (new.host is None)]
        from_address = sum(c.address == new.address for c in others)
        if new.host is None:
            return len(others) < STRANGER_CONNECTIONS and from_address < _CONNECTIONS_PER_STRANGER
        held = Counter(c.host for c in others if c.host is not None)
        return from_address < self._shares.places - SPARE_CONNECTIONS // 2 and self._shares.admits(
            new.host, held
        )

    def _log_refused(self, connection: _Connection) -> None:
        """Log at a limited rate: a flood of connections must not flood the log."""
        self._refused += 1
        now = time.monotonic()
        if now - self._logged_at < _LOG_INTERVAL_S:
            return
        why = "no [[peer]] has this address" if connection.host is None else "too many connections from there"
        log.warning(
            "connection_refused",
            peer_host=connection.address,
            reason=why,
            connections=len(self._connections),
            refused_since_last_line=self._refused,
        )
        self._logged_at, self._refused = now, 0

    def shutdown(self) -> None:
        """Stop accepting and abort open associations; peers send again what was not answered."""
        BaseServer.shutdown(self)
        self.server_close()
        associations = self.active_associations
        for association in associations:
            if association.is_established:
                association.abort(block=False)
        end = time.monotonic() + _ABORT_S
        while time.monotonic() < end and any(
            a.dul.state_machine.current_state != "Sta1" for a in associations
        ):
            time.sleep(0.01)
        for association in associations:
            association.dul.kill_dul()
            if association.dul.socket is not None:
                close(association.dul.socket.socket)

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.exception("connection_failed", peer_host=str(client_address[0]))


def close(connection: socket | None) -> None:
    """Close a socket, also one whose peer has gone already."""
    if connection is None:
        return
    try:
        connection.shutdown(SHUT_RDWR)
    except OSError:
        pass  # not connected any more
    finally:
        connection.close()
