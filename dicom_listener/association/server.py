"""Receives: C-ECHO, C-STORE for every storage SOP class, and reports of storage commitment.

Nothing that is received is parsed here.
"""

import re
import threading
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from typing import Final, TypeVar, cast

import structlog
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE, N_EVENT_REPORT
from pynetdicom.pdu_primitives import A_ASSOCIATE

from dicom_listener.association.contexts import supported_contexts, transfer_syntaxes
from dicom_listener.association.libraries import set_up_libraries
from dicom_listener.association.peers import (
    CALLED_UNREADABLE,
    CALLING_UNREADABLE,
    LIMIT_EXCEEDED,
    NO_REASON,
    PERMANENT,
    SHARE_EXCEEDED,
    ListedHosts,
    Rejection,
    sender,
)
from dicom_listener.association.request import escaped
from dicom_listener.association.shares import Shares
from dicom_listener.association.transport import MAX_PDU_BYTES, REQUEST_DEADLINE_S, GuardedServer, request_of
from dicom_listener.spool import AssociationInfo, Spool
from neurotriage.core.settings import Peer, Settings, config_file
from neurotriage.core.storage import Storage
from neurotriage.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

log = structlog.get_logger()
_Answer = TypeVar("_Answer")

# C-STORE response statuses (PS3.4 table B.2-1).
SUCCESS: Final = 0x0000
OUT_OF_RESOURCES: Final = 0xA700
CANNOT_UNDERSTAND: Final = 0xC000
# N-EVENT-REPORT response statuses (PS3.7 10.1.1.1.8).
PROCESSING_FAILURE: Final = 0x0110
INVALID_ARGUMENT: Final = 0x0115

# Laxer than PS3.5 9.1: real devices write components with leading zeros. No path is made of a UID.
_UID: Final = re.compile(r"[0-9.]{1,64}", re.ASCII)
_ACCEPT_POLL_S: Final = 0.1
# Values of a peer in one log line.
_SHOWN: Final = 8


class Listener:
    """A DICOM acceptor that answers a C-STORE with 0x0000 once the instance is durable in the spool."""

    def __init__(
        self,
        settings: Settings,
        name: str = "main",
        on_echo: Callable[[AssociationInfo], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._on_echo = on_echo
        self.spool = Spool(
            Storage(settings.storage.root), name, min_free_bytes=settings.storage.min_free_bytes
        )
        self._admission = threading.Lock()
        self._admitted: dict[Association, Peer] = {}
        self._shares = Shares(settings.listener.max_associations, settings.peer)
        self._hosts = ListedHosts(settings)
        self._configured_ns = _configured_ns()
        self._server: GuardedServer | None = None
        self._acceptor: threading.Thread | None = None

    @property
    def accepts(self) -> bool:
        """Whether the thread that accepts connections is alive."""
        return self._acceptor is not None and self._acceptor.is_alive()

    def start(self) -> int:
        """Clear up after a crash, then listen; the port.

        Raises ``Unavailable`` while another process has this spool, ``OSError`` where the port is taken.
        """
        set_up_libraries()
        leftovers = self.spool.recover()
        listener = self._settings.listener
        entity = AE(listener.ae_title)
        entity.maximum_pdu_size = MAX_PDU_BYTES
        entity.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
        entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        entity.acse_timeout = REQUEST_DEADLINE_S
        entity.network_timeout = listener.network_timeout_s
        handlers: list[evt.EventHandlerType] = [
            (evt.EVT_REQUESTED, _reported(self._judge)),
            (evt.EVT_ACCEPTED, _reported(self._note_refused_contexts)),
            (evt.EVT_C_ECHO, _reported(self._echo)),
            (evt.EVT_C_STORE, _reported(self._store)),
            (evt.EVT_N_EVENT_REPORT, _reported(self._take_report)),
        ]
        address = (listener.host, listener.port)
        try:
            server = GuardedServer(
                entity,
                address,
                supported_contexts(),
                handlers,
                max_associations=listener.max_associations,
                progress_timeout_s=listener.progress_timeout_s,
                hosts=self._hosts.hosts,
                host_of=self._hosts.host_of,
            )
        except OSError as error:
            self.spool.close()
            place = f"{listener.host}:{listener.port}"
            raise OSError(error.errno, error.strerror or str(error), place) from error
        self._server = server
        self._hosts.start()
        self._acceptor = threading.Thread(
            target=server.serve_forever, args=(_ACCEPT_POLL_S,), name="listener", daemon=True
        )
        self._acceptor.start()
        port = int(server.server_address[1])
        log.info(
            "listening",
            ae_title=listener.ae_title,
            host=listener.host,
            port=port,
            transfer_syntaxes=transfer_syntaxes(),
            incomplete_files_deleted=leftovers,
        )
        return port

    def stop(self) -> None:
        """Stop accepting and abort what runs; whatever was not answered is sent again by its sender."""
        if self._server is None:
            return
        self._server.shutdown()
        self._server = None
        self._hosts.close()
        self.spool.close()
        log.info("stopped_listening")

    def _judge(self, event: evt.Event) -> None:
        """Accept or reject an A-ASSOCIATE-RQ. pynetdicom goes on after an exception here; we do not."""
        verdict: Rejection | None = NO_REASON
        try:
            if event.assoc.is_aborted:  # the peer went away before it asked
                event.assoc.kill()
                verdict = None
            else:
                verdict = self._verdict(event.assoc)
        finally:
            if verdict is not None:
                self._reject(event.assoc, verdict)

    def _verdict(self, acceptor: Association) -> Rejection | None:
        request = request_of(acceptor)
        if request is None:
            return NO_REASON
        if not request.calling.usable:
            return CALLING_UNREADABLE
        if not request.called.usable:
            return CALLED_UNREADABLE
        peer = sender(
            self._settings,
            calling=request.calling.text,
            called=request.called.text,
            host=acceptor.requestor.address,
        )
        return peer if isinstance(peer, Rejection) else self._admit(acceptor, peer)

    def _admit(self, acceptor: Association, peer: Peer) -> Rejection | None:
        """Count associations, not connections: one that never asks takes no place."""
        with self._admission:
            self._admitted = {other: whose for other, whose in self._admitted.items() if _holds_place(other)}
            if len(self._admitted) >= self._shares.places:
                return LIMIT_EXCEEDED
            if not self._shares.admits(peer, Counter(self._admitted.values())):
                return SHARE_EXCEEDED
            self._admitted[acceptor] = peer
            return None

    def _reject(self, acceptor: Association, verdict: Rejection) -> None:
        request = request_of(acceptor)
        log.warning(
            "association_rejected",
            peer_host=acceptor.requestor.address,
            calling_ae_title=request.calling.text if request else "",
            called_ae_title=request.called.text if request else "",
            reason=verdict.why + self._since_start(verdict),
        )
        acceptor.acse.send_reject(verdict.result, verdict.source, verdict.diagnostic)
        acceptor.kill()

    def _since_start(self, verdict: Rejection) -> str:
        """The configuration that an admin looks at may not be the one that judges."""
        if verdict.result == PERMANENT and _configured_ns() != self._configured_ns:
            return "; the configuration file was changed after this listener started: start it anew"
        return ""

    def _note_refused_contexts(self, event: evt.Event) -> None:
        acceptor = event.assoc
        request = request_of(acceptor)
        if request is not None and request.unreadable:
            log.warning(
                "unreadable_uids",
                peer_host=acceptor.requestor.address,
                calling_ae_title=request.calling.text,
                values=request.unreadable[:_SHOWN],
                count=len(request.unreadable),
            )
        rejected = {context.context_id for context in acceptor.rejected_contexts}
        if not rejected:
            return
        proposed = _request(acceptor).presentation_context_definition_list
        as_sent = request.abstract_syntaxes if request is not None else {}
        contexts = [
            (
                as_sent.get(context.context_id or 0, str(context.abstract_syntax)),
                [str(syntax) for syntax in context.transfer_syntax],
            )
            for context in proposed
            if context.context_id in rejected
        ]
        log.info(
            "contexts_refused",
            peer_host=acceptor.requestor.address,
            sop_classes=sorted({sop_class for sop_class, _ in contexts}),
        )
        try:
            self.spool.note_refused(_parties(acceptor), contexts)
        except OSError as error:
            log.warning("refused_contexts_not_kept", error=error.strerror)

    def _echo(self, event: evt.Event) -> int:
        """Answer a C-ECHO-RQ; the log line is how an admin sees that a peer has found us."""
        parties = _parties(event.assoc)
        log.info("echo_answered", peer_host=parties.peer_host)
        self._on_echo(parties)
        return SUCCESS

    def _store(self, event: evt.Event) -> int | Dataset:
        """Answer a C-STORE-RQ, from the command set and the bytes alone."""
        request = cast(C_STORE, event.request)
        data_set = cast(BytesIO, request.DataSet).getbuffer()
        sop_class_uid = str(request.AffectedSOPClassUID)
        sop_instance_uid = str(request.AffectedSOPInstanceUID).rstrip("\0 ")
        if not (_UID.fullmatch(sop_class_uid) and _UID.fullmatch(sop_instance_uid)):
            return self._refuse(event.assoc, sop_instance_uid, "UID is not 1-64 digits and dots")
        if not data_set.nbytes:
            return self._refuse(event.assoc, sop_instance_uid, "data set is empty")
        try:
            name = self.spool.receive(
                _parties(event.assoc),
                sop_class_uid=sop_class_uid,
                sop_instance_uid=sop_instance_uid,
                transfer_syntax_uid=str(event.context.transfer_syntax),
                data_set=data_set,
            )
        except OSError as error:
            log.error("instance_not_kept", sop_instance_uid=sop_instance_uid, error=error.strerror)
            return _failure(OUT_OF_RESOURCES, "no space or storage error")
        log.debug("instance_received", sop_instance_uid=sop_instance_uid, name=name)
        return SUCCESS

    def _refuse(self, acceptor: Association, sop_instance_uid: str, why: str) -> Dataset:
        """This object is not taken; the association lives on."""
        parties = _parties(acceptor)
        log.warning(
            "instance_refused",
            peer_host=parties.peer_host,
            calling_ae_title=parties.calling_ae_title,
            sop_instance_uid=escaped(sop_instance_uid.encode(errors="replace")),
            reason=why,
        )
        return _failure(CANNOT_UNDERSTAND, why)

    def _take_report(self, event: evt.Event) -> tuple[int, None]:
        """Answer an N-EVENT-REPORT-RQ (PS3.4 J.3.3), from the bytes alone."""
        request = cast(N_EVENT_REPORT, event.request)
        information = request.EventInformation
        if information is None or not information.getbuffer().nbytes:
            return INVALID_ARGUMENT, None
        try:
            self.spool.receive_report(
                _parties(event.assoc), str(event.context.transfer_syntax), information.getbuffer()
            )
        except OSError as error:
            log.error("report_not_kept", error=error.strerror)
            return PROCESSING_FAILURE, None
        return SUCCESS, None


def _request(acceptor: Association) -> A_ASSOCIATE:
    """The A-ASSOCIATE-RQ; only where one has come."""
    return cast(A_ASSOCIATE, acceptor.requestor.primitive)


def _parties(acceptor: Association) -> AssociationInfo:
    return AssociationInfo(
        calling_ae_title=_request(acceptor).calling_ae_title.strip(),
        called_ae_title=acceptor.acceptor.ae_title.strip(),
        peer_host=acceptor.requestor.address,
    )


def _holds_place(acceptor: Association) -> bool:
    """A place is free with the release; the thread of the association ends a moment later."""
    return acceptor.is_alive() and not (acceptor.is_released or acceptor.is_aborted)


def _failure(status: int, comment: str) -> Dataset:
    answer = Dataset()
    answer.Status = status
    answer.ErrorComment = comment
    return answer


def _reported(handler: Callable[[evt.Event], _Answer]) -> Callable[[evt.Event], _Answer]:
    """A bug in a handler is told with its traceback; pynetdicom then answers for us."""

    def report(event: evt.Event) -> _Answer:
        try:
            return handler(event)
        except Exception:
            log.exception("handler_failed", handler=handler.__name__)
            raise

    return report


def _configured_ns() -> int:
    """When the configuration file was changed last; 0 where there is none."""
    try:
        return config_file().stat().st_mtime_ns
    except OSError:
        return 0
