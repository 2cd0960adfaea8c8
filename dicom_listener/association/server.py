"""The DICOM listener: C-ECHO, C-STORE of every storage SOP class, and storage commitment reports.

No received data set is parsed here.
"""

import re
import threading
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

from dicom_listener.association.admission import Admission
from dicom_listener.association.contexts import supported_contexts, transfer_syntaxes
from dicom_listener.association.libraries import set_up_libraries
from dicom_listener.association.peers import ListedHosts
from dicom_listener.association.request import escaped
from dicom_listener.association.transport import MAX_PDU_BYTES, REQUEST_DEADLINE_S, GuardedServer, request_of
from dicom_listener.spool import AssociationInfo, Spool
from neurotriage.core.settings import Settings
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

# Laxer than PS3.5 9.1: real devices write components with leading zeros. No path contains a received UID.
_UID: Final = re.compile(r"[0-9.]{1,64}", re.ASCII)
_ACCEPT_POLL_S: Final = 0.1
# Values sent by a peer in one log line.
_MAX_LOGGED: Final = 8


class Listener:
    """A DICOM acceptor that answers a C-STORE with 0x0000 once the instance is on stable storage.

    ``name``: of its spool. ``on_echo`` is called for each C-ECHO, on the thread of its association.
    """

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
        self._admission = Admission(settings)
        self._hosts = ListedHosts(settings)
        self._server: GuardedServer | None = None
        self._acceptor: threading.Thread | None = None

    @property
    def accepts(self) -> bool:
        """Whether the thread that accepts connections is alive."""
        return self._acceptor is not None and self._acceptor.is_alive()

    def start(self) -> int:
        """Delete incomplete files of a crash, then listen; the port.

        Raises ``Unavailable`` while another process has the spool, ``OSError`` where the port is taken.
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
            (evt.EVT_REQUESTED, _logged(self._admission.decide)),
            (evt.EVT_ACCEPTED, _logged(self._note_rejected_contexts)),
            (evt.EVT_C_ECHO, _logged(self._echo)),
            (evt.EVT_C_STORE, _logged(self._store)),
            (evt.EVT_N_EVENT_REPORT, _logged(self._store_report)),
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
        """Stop accepting and abort open associations; senders send again what was not answered."""
        if self._server is None:
            return
        self._server.shutdown()
        self._server = None
        self._hosts.close()
        self.spool.close()
        log.info("stopped_listening")

    def _note_rejected_contexts(self, event: evt.Event) -> None:
        acceptor = event.assoc
        request = request_of(acceptor)
        if request is not None and request.unreadable:
            log.warning(
                "invalid_uids",
                peer_host=acceptor.requestor.address,
                calling_ae_title=request.calling.text,
                values=request.unreadable[:_MAX_LOGGED],
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
            "contexts_rejected",
            peer_host=acceptor.requestor.address,
            sop_classes=sorted({sop_class for sop_class, _ in contexts}),
        )
        try:
            self.spool.note_refused(_parties(acceptor), contexts)
        except OSError as error:
            log.warning("rejected_contexts_not_noted", error=error.strerror)

    def _echo(self, event: evt.Event) -> int:
        """Answer a C-ECHO-RQ (PS3.7 9.1.5). The log line shows an admin that a peer reaches us."""
        parties = _parties(event.assoc)
        log.info("echo_answered", peer_host=parties.peer_host)
        self._on_echo(parties)
        return SUCCESS

    def _store(self, event: evt.Event) -> int | Dataset:
        """Answer a C-STORE-RQ (PS3.7 9.1.1) by its command set; the data set stays encoded."""
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
            log.error("instance_not_stored", sop_instance_uid=sop_instance_uid, error=error.strerror)
            return _failure(OUT_OF_RESOURCES, "no space or storage error")
        log.debug("instance_stored", sop_instance_uid=sop_instance_uid, name=name)
        return SUCCESS

    def _refuse(self, acceptor: Association, sop_instance_uid: str, why: str) -> Dataset:
        """Refuse one instance; the association goes on."""
        parties = _parties(acceptor)
        log.warning(
            "instance_refused",
            peer_host=parties.peer_host,
            calling_ae_title=parties.calling_ae_title,
            sop_instance_uid=escaped(sop_instance_uid.encode(errors="replace")),
            reason=why,
        )
        return _failure(CANNOT_UNDERSTAND, why)

    def _store_report(self, event: evt.Event) -> tuple[int, None]:
        """Answer an N-EVENT-REPORT-RQ (PS3.7 10.1.1, PS3.4 J.3.3); its Event Information stays encoded."""
        request = cast(N_EVENT_REPORT, event.request)
        information = request.EventInformation
        if information is None or not information.getbuffer().nbytes:
            return INVALID_ARGUMENT, None
        try:
            with self.spool.begin_report(
                _parties(event.assoc), str(event.context.transfer_syntax)
            ) as incoming:
                incoming.write(information.getbuffer())
                incoming.commit()
        except OSError as error:
            log.error("commitment_report_not_stored", error=error.strerror)
            return PROCESSING_FAILURE, None
        return SUCCESS, None


def _request(acceptor: Association) -> A_ASSOCIATE:
    """The A-ASSOCIATE-RQ of an accepted association."""
    return cast(A_ASSOCIATE, acceptor.requestor.primitive)


def _parties(acceptor: Association) -> AssociationInfo:
    return AssociationInfo(
        calling_ae_title=_request(acceptor).calling_ae_title.strip(),
        called_ae_title=acceptor.acceptor.ae_title.strip(),
        peer_host=acceptor.requestor.address,
    )


def _failure(status: int, comment: str) -> Dataset:
    answer = Dataset()
    answer.Status = status
    answer.ErrorComment = comment
    return answer


def _logged(handler: Callable[[evt.Event], _Answer]) -> Callable[[evt.Event], _Answer]:
    """Log the traceback of a bug in a handler; pynetdicom then answers for us."""

    def call(event: evt.Event) -> _Answer:
        try:
            return handler(event)
        except Exception:
            log.exception("handler_failed", handler=handler.__name__)
            raise

    return call
