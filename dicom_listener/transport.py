"""pynetdicom's acceptor with a deadline for every wait and a limit for every buffer.

pynetdicom 3.0.4 as it is waits for ever inside a PDU, believes any announced length, queues without limit
and keeps a slot for each connection that never asks for anything. The classes here replace the parts where
that happens. They reach into names that pynetdicom does not promise: ``tests/listener/test_transport.py``
fails when an upgrade moves one.
"""

import select
import ssl
import time
from socket import SHUT_RDWR, socket
from socketserver import BaseServer
from typing import Any, Final, cast

import structlog
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.pdu_primitives import A_P_ABORT, P_DATA
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

log = structlog.get_logger()

# A whole PDU, once its first byte has come, and what we send: a peer slower than this is gone.
PDU_DEADLINE_S: Final = 10.0
SEND_DEADLINE_S: Final = 10.0
# From the connection to the A-ASSOCIATE-RQ (also pynetdicom's ARTIM timer).
REQUEST_DEADLINE_S: Final = 10.0
# The longest PDU that we announce, and a little for senders that count the header in.
MAX_PDU_BYTES: Final = 131_072
_PDU_SLACK_BYTES: Final = 1024
_HEADER_BYTES: Final = 6  # PS3.8 9.3.1
# No command set of PS3.7 comes near this.
_MAX_COMMAND_BYTES: Final = 65_536
# A data set is kept in memory until it is written; no image of a head study is larger.
_MAX_DATA_SET_BYTES: Final = 2 * 1024**3
# We negotiate one operation at a time; a peer that sends ahead regardless is cut off.
_MAX_WAITING_MESSAGES: Final = 2
# Connections beyond the associations that are served, so that a peer above that limit can be told so;
# half of them are out of reach of any one host.
SPARE_CONNECTIONS: Final = 32
# For the A-ABORT to reach the peers when the process stops.
_ABORT_S: Final = 1.0
# PS3.8 table 9-6, Evt19: unrecognised or invalid PDU. The state machine answers with A-ABORT.
_INVALID_PDU: Final = "Evt19"
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


class GuardedMessages(DIMSEServiceProvider):
    """Assembles messages within limits; what nobody would answer ends the association."""

    def receive_primitive(self, primitive: P_DATA) -> None:
        problem = self._problem(primitive)
        if problem is None:
            super().receive_primitive(primitive)
            return
        log.warning("association_abused", peer_host=self.assoc.requestor.address, problem=problem)
        self.dul.event_queue.put(_INVALID_PDU)

    def get_msg(self, block: bool = False) -> tuple[Any, Any]:
        """The next message. pynetdicom would leave the sender of an invalid one waiting for ever."""
        context_id, message = super().get_msg(block)
        if message is not None and not message.is_valid_request:
            log.warning("invalid_message", peer_host=self.assoc.requestor.address)
            self.dul.event_queue.put(_INVALID_PDU)
            return None, None
        return context_id, message

    def _problem(self, primitive: P_DATA) -> str | None:
        if self.msg_queue.qsize() > _MAX_WAITING_MESSAGES:
            return "sends ahead of our answers"
        command_bytes = self.message.encoded_command_set.tell() if self.message else 0
        data_set_bytes = self.message.data_set.tell() if self.message and self.message.data_set else 0
        for context_id, fragment in primitive.presentation_data_value_list:
            if context_id not in self.assoc._accepted_cx:
                return "sends on a presentation context that was not accepted"
            if not fragment:
                return "sends a fragment without control header"
            if fragment[0] & 1:  # PS3.8 E.2: command, not data set
                command_bytes += len(fragment)
            else:
                data_set_bytes += len(fragment)
        if command_bytes > _MAX_COMMAND_BYTES:
            return "sends a command set without end"
        return "sends a data set without end" if data_set_bytes > _MAX_DATA_SET_BYTES else None


class GuardedRequest(RequestHandler):
    """Makes the association of a connection, with our socket and our limits."""

    def _create_association(self) -> Association:
        association = super()._create_association()
        # The plain socket announced the connection to the state machine; ours announces it again.
        association.dul.event_queue.get_nowait()
        association.dul.socket = GuardedSocket(association, self.request)
        association.dul.daemon = True  # a peer stuck in a PDU must not keep the process alive
        association.dimse = GuardedMessages(association)
        association.bind(evt.EVT_CONN_CLOSE, _end_unrequested)
        return association


def _end_unrequested(event: evt.Event) -> None:
    """A connection that closes before its A-ASSOCIATE-RQ: end its threads now, not at the deadline."""
    association = event.assoc
    if association.requestor.primitive is None:
        association.is_aborted = True
        association.dul.to_user_queue.put(A_P_ABORT())


class GuardedServer(ThreadedAssociationServer):
    """Accepts connections up to a limit, in all (``maximum_associations`` of the AE) and per host."""

    request_queue_size = 128
    daemon_threads = True

    def __init__(
        self,
        entity: AE,
        address: tuple[str, int],
        contexts: list[PresentationContext],
        handlers: list[evt.EventHandlerType],
    ) -> None:
        self._connections: dict[socket, str] = {}
        super().__init__(
            entity,
            address,
            entity.ae_title,
            contexts,
            evt_handlers=handlers,
            request_handler=GuardedRequest,
        )

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """False closes the connection at once, before it costs a thread."""
        host = str(client_address[0])
        self._connections = {s: h for s, h in self._connections.items() if s.fileno() != -1}
        limit: int = self.ae.maximum_associations
        from_host = sum(other == host for other in self._connections.values())
        if len(self._connections) >= limit or from_host >= limit - SPARE_CONNECTIONS // 2:
            log.warning("connection_refused", peer_host=host, connections=len(self._connections))
            return False
        self._connections[request] = host
        return True

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
