"""pynetdicom's acceptor with a deadline for every wait and a limit for every buffer.

pynetdicom 3.0.4 as it is waits for ever inside a PDU, believes any announced length, queues without limit
and keeps a slot for each connection that never asks for anything. The classes here replace the parts where
that happens. They reach into names that pynetdicom does not promise: ``tests/listener/test_transport.py``
fails when an upgrade moves one.
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

# A whole PDU, once its first byte has come, and what we send: a peer slower than this is gone.
PDU_DEADLINE_S: Final = 10.0
SEND_DEADLINE_S: Final = 10.0
# From the connection to the A-ASSOCIATE-RQ (also pynetdicom's ARTIM timer).
REQUEST_DEADLINE_S: Final = 10.0
# The longest PDU that we announce, and a little for senders that count the header in.
MAX_PDU_BYTES: Final = 131_072
_PDU_SLACK_BYTES: Final = 1024
# Connections beyond the associations that are served, so that a peer above that limit can be told so;
# half of them are out of reach of any one address.
SPARE_CONNECTIONS: Final = 32
# Strangers hold no place of those that are listed. These few are for telling them, and our log, why.
STRANGER_CONNECTIONS: Final = 8
_CONNECTIONS_PER_STRANGER: Final = 4
# One log line in this time tells how many connections were refused, whatever comes.
_TOLD_EVERY_S: Final = 1.0
# For the A-ABORT to reach the peers when the process stops.
_ABORT_S: Final = 1.0
# PS3.8 table 9-6, Evt17: the connection is closed.
_CLOSED: Final = "Evt17"


class GuardedSocket(AssociationSocket):
    """Reads and writes with deadlines; takes no PDU that is longer than announced."""

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
        """Read exactly ``nr_bytes``: the header of a PDU, then, in what is left of its time, the rest.

        Shorter only where the peer closed. Raises ``OSError`` past the deadline or for a PDU too long.
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
        """Send all within the deadline; a peer that does not read is dropped."""
        connection = cast(socket, self.socket)
        try:
            connection.settimeout(SEND_DEADLINE_S)
            connection.sendall(bytestream)
        except OSError:
            self.event_queue.put(_CLOSED)

    def _shutdown_socket(self) -> None:
        close(self.socket)


class GuardedRequest(RequestHandler):
    """Makes the association of a connection, with our socket and our limits."""

    server: "GuardedServer"

    def _create_association(self) -> Association:
        association = super()._create_association()
        # The plain socket announced the connection to the state machine; ours announces it again.
        association.dul.event_queue.get_nowait()
        association.dul.socket = GuardedSocket(association, self.request)
        association.dul.daemon = True  # a peer stuck in a PDU must not keep the process alive
        association.dul._decode_pdu = partial(  # type: ignore[method-assign]
            _decoded, association, association.dul._decode_pdu
        )
        for part, step in ((association.acse, "negotiate_association"), (association, "_run_reactor")):
            setattr(part, step, partial(_ended_by_a_fault, association, getattr(part, step)))
        association.dimse = GuardedMessages(association, self.server.progress_timeout_s)
        association.bind(evt.EVT_CONN_CLOSE, _end_unrequested)
        return association


def request_of(association: Association) -> Request | None:
    """The A-ASSOCIATE-RQ as it was read; None before it has come."""
    return cast(GuardedMessages, association.dimse).request


def _decoded(association: Association, decode: Callable[[bytearray], Any], data: bytearray) -> Any:
    """A PDU for the state machine; one that cannot be decoded is told with the address that it came from."""
    if data[0] == ASSOCIATE_RQ:
        request = readable(bytes(data))
        cast(GuardedMessages, association.dimse).request = request
        data = bytearray(request.pdu)
    try:
        return decode(data)
    except Exception as error:
        log.warning(
            "pdu_not_understood",
            peer_host=association.requestor.address,
            pdu_type=data[0],
            error=type(error).__name__,
        )
        raise


def _ended_by_a_fault(association: Association, step: Callable[[], None]) -> None:
    """A fault in a step of an association ends it; its thread would die alone, and its connection stay."""
    try:
        step()
    except Exception:
        log.exception("association_failed", peer_host=association.requestor.address)
        association.abort()


def _end_unrequested(event: evt.Event) -> None:
    """A connection that closes before its A-ASSOCIATE-RQ: end its threads now, not at the deadline."""
    association = event.assoc
    if association.requestor.primitive is None:
        association.is_aborted = True
        association.dul.to_user_queue.put(A_P_ABORT())


class _Contexts(list[PresentationContext]):
    """Presentation contexts that nobody changes: one set for all associations; pynetdicom would copy it."""

    def __deepcopy__(self, memo: object) -> Self:
        return self


@dataclass(frozen=True, slots=True)
class _Connection:
    address: str
    host: str | None  # as configured; None for a stranger


class GuardedServer(ThreadedAssociationServer):
    """Accepts connections up to a limit: in all, per address, and in fair shares of those that are listed.

    ``host_of`` says at once which configured host an address belongs to, None for a stranger.
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
        self._told_at = -math.inf
        # pynetdicom counts whatever is alive; the places are counted here and where a request is judged.
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
        """False closes the connection at once, before it costs a thread."""
        address = str(client_address[0])
        self._connections = {s: c for s, c in self._connections.items() if s.fileno() != -1}
        connection = _Connection(address, self._host_of(address))
        if not self._has_room(connection):
            self._tell_refused(connection)
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

    def _tell_refused(self, connection: _Connection) -> None:
        """A flood of connections must not become a flood of lines."""
        self._refused += 1
        now = time.monotonic()
        if now - self._told_at < _TOLD_EVERY_S:
            return
        why = "no [[peer]] has this address" if connection.host is None else "too many connections from there"
        log.warning(
            "connection_refused",
            peer_host=connection.address,
            reason=why,
            connections=len(self._connections),
            refused_since_last_told=self._refused,
        )
        self._told_at, self._refused = now, 0

    def shutdown(self) -> None:
        """Stop accepting and abort what runs; peers send again what was not answered."""
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
