"""One accepted connection: who is it, may it send, and the services that it gets."""

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

import structlog
from pynetdicom.presentation import PresentationContext

from dicom_listener.admission.admission import Admission
from dicom_listener.admission.peers import NO_REASON, Rejection, report_host
from dicom_listener.admission.quotas import Quotas
from dicom_listener.admission.refusals import Refusals
from dicom_listener.admission.tls import PeerCertificate
from dicom_listener.association import pdus
from dicom_listener.association.commitment import CommitmentRequests, CommitmentRoles
from dicom_listener.association.messages import Messages
from dicom_listener.association.negotiation import Negotiated, Unreadable, negotiate
from dicom_listener.association.receiving import Receiving, Unfinished
from dicom_listener.association.request import Request, escaped, readable
from dicom_listener.association.services import Services
from dicom_listener.association.upper_layer import UpperLayer
from dicom_listener.refused_associations import Refusal
from dicom_listener.spool import AssociationInfo, Incoming, Spool, note_end
from neurotriage.core.settings import Peer

log = structlog.get_logger()

# Values sent by a peer in one log line.
_MAX_LOGGED: Final = 8
_TLS_CLIENT: Final = "it spoke TLS to a port without TLS"
_NOT_DICOM: Final = "its first bytes are no A-ASSOCIATE-RQ"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all connections of a listener share. Its parts belong to the loop's thread."""

    loop: asyncio.AbstractEventLoop
    disk: Executor
    names: Executor
    spool: Spool
    contexts: list[PresentationContext]
    commitment: CommitmentRoles
    admission: Admission
    quotas: Quotas
    unfinished: Unfinished
    refusals: Refusals
    max_object_bytes: int
    on_echo: Callable[[AssociationInfo], None]
    connected: Callable[["Connection"], None]
    leave: Callable[[Hashable], None]


class Connection:
    """The user of an upper layer, and where its objects go."""

    def __init__(
        self, around: Surroundings, peer_host: str, certificate: PeerCertificate | None = None
    ) -> None:
        self._around, self.peer_host, self.certificate = around, peer_host, certificate
        self._layer: UpperLayer | None = None
        self._services: Services | None = None
        self._peer: Peer | None = None
        self._parties: AssociationInfo | None = None
        self._gone = False

    @property
    def layer(self) -> UpperLayer:
        """The upper layer. Raises ``RuntimeError`` before there is one."""
        if self._layer is None:
            raise RuntimeError("not connected")
        return self._layer

    # The upper layer's calls

    def connected(self, layer: UpperLayer) -> None:
        self._layer = layer
        self._around.connected(self)

    def not_dicom(self, start: bytes) -> None:
        cause = _TLS_CLIENT if start[:1] == b"\x16" else _NOT_DICOM
        self._around.refusals.add("connection_refused", Refusal.of(cause, self.peer_host))
        self.layer.close()

    def requested(self, pdu: bytes) -> None:
        request = readable(pdu)
        admission = self._around.admission
        peer = admission.known_peer(request, self.peer_host, self.certificate)
        if peer is not None:
            self._decide(request, peer)
            return
        # On a thread: a name has to be resolved.
        self._around.loop.run_in_executor(
            self._around.names, admission.looked_up_peer, request, self.peer_host, self.certificate
        ).add_done_callback(lambda judged: self._decide_looked_up(request, judged))

    def ended(self, *, released: bool) -> None:
        self._gone = True
        self._around.leave(self)
        self._around.admission.leave(self)
        if self._services is not None:
            self._services.ended()
        if self._parties is not None:
            self._around.disk.submit(note_end, self._around.spool, self._parties, released=released)

    # Where objects go

    def receive(self, begin: Callable[[], Incoming], on_room: Callable[[], None]) -> Receiving:
        around = self._around
        return Receiving(begin, around.loop, around.disk, around.unfinished, self._peer, on_room)

    def begin_instance(
        self,
        association: AssociationInfo,
        *,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
    ) -> Incoming:
        return self._around.spool.begin(
            association,
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            transfer_syntax_uid=transfer_syntax_uid,
        )

    def begin_report(self, association: AssociationInfo, transfer_syntax_uid: str) -> Incoming:
        return self._around.spool.begin_report(association, transfer_syntax_uid)

    def is_over_quota(self) -> bool:
        return self._peer is not None and self._around.quotas.is_exceeded(self._peer)

    def stored(self, size_bytes: int) -> None:
        if self._peer is not None:
            self._around.quotas.add(self._peer, size_bytes)

    def echoed(self, association: AssociationInfo) -> None:
        self._around.on_echo(association)

    def _decide_looked_up(self, request: Request, judged: "asyncio.Future[Peer | Rejection]") -> None:
        """Where the request cannot be judged, it is rejected."""
        error = judged.exception()
        if error is not None:
            log.error("request_not_judged", peer_host=self.peer_host, exc_info=error)
        self._decide(request, judged.result() if error is None else NO_REASON)

    def _decide(self, request: Request, peer: Peer | Rejection) -> None:
        if self._gone:
            return
        with self.layer.guard():
            rejection = peer if isinstance(peer, Rejection) else self._around.admission.admit(self, peer)
            if rejection is not None:
                self._reject(request, rejection)
            elif isinstance(peer, Peer):
                self._peer = peer
                self._accept(request)

    def _reject(self, request: Request, rejection: Rejection) -> None:
        refusal = Refusal.of(
            self._around.admission.explained(rejection),
            self.peer_host,
            request.calling.text,
            request.called.text,
        )
        self._around.refusals.add("association_rejected", refusal)
        self.layer.refuse(pdus.reject(rejection.result, rejection.source, rejection.diagnostic))

    def _accept(self, request: Request) -> None:
        around = self._around
        try:
            needs_role = around.commitment.needs_role(request.calling.text)
            negotiated = negotiate(request, around.contexts, needs_role)
        except Unreadable as error:
            log.warning("pdu_decode_failed", peer_host=self.peer_host, error=str(error))
            self.layer.abort(pdus.INVALID_PARAMETER)
            return
        parties = AssociationInfo(request.calling.text, request.called.text, self.peer_host, uuid4().hex)
        self._parties = parties
        services = Services(self.layer, parties, self, self._commitment_requests(parties))
        self._services = services
        messages = Messages(
            negotiated.accepted,
            max_object_bytes=around.max_object_bytes,
            on_command=services.on_command,
            on_message=services.on_message,
        )
        self._note_rejected_contexts(request, negotiated)
        self.layer.establish(negotiated.pdu, messages)

    def _commitment_requests(self, parties: AssociationInfo) -> CommitmentRequests | None:
        around = self._around
        if not around.commitment.provided or self._peer is None:
            return None
        host = report_host(self._peer, self.peer_host)
        return CommitmentRequests(parties, host, around.spool, around.loop, around.disk)

    def _note_rejected_contexts(self, request: Request, negotiated: Negotiated) -> None:
        if request.unreadable:
            log.warning(
                "invalid_uids",
                peer_host=self.peer_host,
                calling_ae_title=request.calling.text,
                values=request.unreadable[:_MAX_LOGGED],
                count=len(request.unreadable),
            )
        if not negotiated.rejected or self._parties is None:
            return
        log.info(
            "contexts_rejected",
            peer_host=self.peer_host,
            sop_classes=sorted({escaped(sop_class.encode()) for sop_class, _ in negotiated.rejected}),
        )
        self._around.loop.run_in_executor(
            self._around.disk, _note_refused, self._around.spool, self._parties, negotiated
        )


def _note_refused(spool: Spool, parties: AssociationInfo, negotiated: Negotiated) -> None:
    try:
        spool.note_refused(parties, negotiated.rejected)
    except OSError as error:
        log.warning("rejected_contexts_not_noted", error=error.strerror)
