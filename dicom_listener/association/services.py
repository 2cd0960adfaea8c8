"""The services of one association: C-ECHO, C-STORE, and storage commitment: reports of it, requests for it.

No received data set is parsed here.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

import structlog

from dicom_listener.association import pdus
from dicom_listener.association.commands import (
    C_CANCEL_RQ,
    C_ECHO_RQ,
    C_STORE_RQ,
    N_ACTION_RQ,
    N_EVENT_REPORT_RQ,
    Command,
    response,
)
from dicom_listener.association.commitment import Collected, CommitmentRequests
from dicom_listener.association.contexts import VERIFICATION
from dicom_listener.association.messages import DataSet, Dropped
from dicom_listener.association.negotiation import AcceptedContext
from dicom_listener.association.receiving import Receiving
from dicom_listener.association.request import escaped
from dicom_listener.association.upper_layer import UpperLayer
from dicom_listener.spool import AssociationInfo, Incoming
from neurotriage.dicom.commitment import PUSH_MODEL
from neurotriage.dicom.commitment_request import RequestRefused

log = structlog.get_logger()

# C-STORE response statuses (PS3.4 table B.2-1).
SUCCESS: Final = 0x0000
OUT_OF_RESOURCES: Final = 0xA700
CANNOT_UNDERSTAND: Final = 0xC000
# PS3.7 annex C: of any service.
SOP_CLASS_NOT_SUPPORTED: Final = 0x0122
UNRECOGNIZED_OPERATION: Final = 0x0211
# N-EVENT-REPORT response statuses (PS3.7 10.1.1.1.8).
PROCESSING_FAILURE: Final = 0x0110
INVALID_ARGUMENT: Final = 0x0115

# Laxer than PS3.5 9.1: real devices write components with leading zeros. No path contains a received UID.
_UID: Final = re.compile(rb"[0-9.]{1,64}")


class Store(Protocol):
    """Where an association's objects go."""

    def receive(self, begin: Callable[[], Incoming], on_room: Callable[[], None]) -> Receiving:
        """Begin to receive an object whose file ``begin`` opens."""

    def begin_instance(
        self,
        association: AssociationInfo,
        *,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
    ) -> Incoming:
        """As ``Spool.begin``."""

    def begin_report(self, association: AssociationInfo, transfer_syntax_uid: str) -> Incoming:
        """As ``Spool.begin_report``."""

    def is_over_quota(self) -> bool:
        """Whether the peer has sent what it may send today."""

    def stored(self, size_bytes: int) -> None:
        """An object of so many bytes was stored."""

    def echoed(self, association: AssociationInfo) -> None:
        """A C-ECHO was answered."""


class Services:
    """Answers the messages of one association.

    Its ``on_command`` and ``on_message`` are those of ``messages.Messages``. ``requests``: None where we do
    not provide storage commitment.
    """

    def __init__(
        self,
        layer: UpperLayer,
        parties: AssociationInfo,
        store: Store,
        requests: CommitmentRequests | None = None,
    ) -> None:
        self._layer, self._parties, self._store, self._requests = layer, parties, store, requests
        self._refused: tuple[int, str] | None = None  # status and reason for the object that is coming
        self._receiving: Receiving | None = None

    def on_command(self, command: Command, context_id: int, context: AcceptedContext) -> DataSet | None:
        """Where the data set goes that follows a command set; that of another service is dropped."""
        self._refused = self._receiving = None
        if command.field in (C_ECHO_RQ, C_CANCEL_RQ):
            return None
        stores = context.sop_class_uid not in (VERIFICATION, PUSH_MODEL)
        if command.field == C_STORE_RQ and stores:
            return self._begin_instance(command, context)
        if command.field == N_EVENT_REPORT_RQ and context.sop_class_uid == PUSH_MODEL:
            begin = partial(self._store.begin_report, self._parties, context.transfer_syntax_uid)
            self._receiving = self._store.receive(begin, self._layer.go_on)
            return self._receiving
        if command.field == N_ACTION_RQ and context.sop_class_uid == PUSH_MODEL and self._requests:
            self._refused = self._requests.refusal(command)
            return Dropped() if self._refused else Collected(context)
        known = command.field in (C_STORE_RQ, N_EVENT_REPORT_RQ)
        status = SOP_CLASS_NOT_SUPPORTED if known else UNRECOGNIZED_OPERATION
        self._refused = status, f"operation {command.field:#06x} is not offered in this context"
        return Dropped()

    def on_message(self, command: Command, context_id: int, data_set: DataSet | None) -> None:
        """Answer a message that is complete."""
        answer = partial(self._answer, command, context_id)
        size_bytes = data_set.size_bytes if data_set is not None else 0
        if command.field == C_ECHO_RQ:
            self._echo(answer)
        elif command.field == C_CANCEL_RQ:
            return  # of an operation that has been answered
        elif self._refused is not None:
            self._refuse(command, *self._refused, answer)
        elif command.field == N_ACTION_RQ:
            self._take_request(command, data_set, answer)
        elif command.field == N_EVENT_REPORT_RQ:
            self._finish(command, size_bytes, partial(self._report_stored, answer), answer, INVALID_ARGUMENT)
        else:
            stored = partial(self._instance_stored, command, size_bytes, answer)
            self._finish(command, size_bytes, stored, answer, CANNOT_UNDERSTAND)

    def ended(self) -> None:
        """The association has ended; an object that is not complete is deleted."""
        receiving, self._receiving = self._receiving, None
        if receiving is not None:
            receiving.discard()

    def _begin_instance(self, command: Command, context: AcceptedContext) -> DataSet:
        """By its command set (PS3.7 9.1.1); the data set stays encoded."""
        if command.sop_class_uid.decode("ascii", "replace") != context.sop_class_uid:
            log.warning(
                "sop_class_mismatch",
                peer_host=self._parties.peer_host,
                sop_class=escaped(command.sop_class_uid),
                context=context.sop_class_uid,
            )
        if not _UID.fullmatch(command.sop_instance_uid):
            self._refused = CANNOT_UNDERSTAND, "UID is not 1-64 digits and dots"
            return Dropped()
        if self._store.is_over_quota():
            self._refused = OUT_OF_RESOURCES, "quota of the day reached"
            return Dropped()
        begin = partial(
            self._store.begin_instance,
            self._parties,
            sop_class_uid=context.sop_class_uid,
            sop_instance_uid=command.sop_instance_uid.decode("ascii"),
            transfer_syntax_uid=context.transfer_syntax_uid,
        )
        self._receiving = self._store.receive(begin, self._layer.go_on)
        return self._receiving

    def _finish(
        self,
        command: Command,
        size_bytes: int,
        on_stored: Callable[[str | OSError], None],
        answer: Callable[..., None],
        empty_status: int,
    ) -> None:
        receiving = self._receiving
        if receiving is None or not size_bytes:
            self.ended()
            self._refuse(command, empty_status, "data set is empty", answer)
            return

        def guarded(result: str | OSError) -> None:
            with self._layer.guard():
                on_stored(result)

        self._layer.wait()
        receiving.finish(guarded)

    def _instance_stored(
        self, command: Command, size_bytes: int, answer: Callable[..., None], result: str | OSError
    ) -> None:
        self._receiving = None
        sop_instance_uid = command.sop_instance_uid.decode("ascii")
        if isinstance(result, OSError):
            log.error("instance_not_stored", sop_instance_uid=sop_instance_uid, error=result.strerror)
            answer(OUT_OF_RESOURCES, "no space or storage error")
        else:
            log.debug("instance_stored", sop_instance_uid=sop_instance_uid, name=result)
            self._store.stored(size_bytes)
            answer(SUCCESS)
        self._layer.progressed()
        self._layer.go_on()

    def _report_stored(self, answer: Callable[..., None], result: str | OSError) -> None:
        """Of an N-EVENT-REPORT-RQ (PS3.7 10.1.1, PS3.4 J.3.3); its Event Information stays encoded."""
        self._receiving = None
        if isinstance(result, OSError):
            log.error("commitment_report_not_stored", error=result.strerror)
            answer(PROCESSING_FAILURE)
        else:
            answer(SUCCESS)
        self._layer.progressed()
        self._layer.go_on()

    def _take_request(self, command: Command, data_set: DataSet | None, answer: Callable[..., None]) -> None:
        """Of an N-ACTION-RQ (PS3.7 10.1.4, PS3.4 J.3.2)."""
        if self._requests is None or not isinstance(data_set, Collected):
            self._refuse(command, INVALID_ARGUMENT, "no action information", answer)
            return

        def taken(refused: RequestRefused | None) -> None:
            with self._layer.guard():
                if refused is not None:
                    self._refuse(command, refused.status, str(refused), answer)
                else:
                    log.info("commitment_requested", calling_ae_title=self._parties.calling_ae_title)
                    self._layer.progressed()
                    answer(SUCCESS)
                self._layer.go_on()

        self._layer.wait()
        self._requests.take(data_set, taken)

    def _echo(self, answer: Callable[..., None]) -> None:
        """A C-ECHO-RQ (PS3.7 9.1.5). The log line shows an admin that a peer reaches us."""
        log.info("echo_answered", peer_host=self._parties.peer_host)
        answer(SUCCESS)
        self._store.echoed(self._parties)

    def _refuse(self, command: Command, status: int, why: str, answer: Callable[..., None]) -> None:
        """Refuse one object; the association goes on."""
        log.warning(
            "commitment_request_refused" if command.field == N_ACTION_RQ else "instance_refused",
            peer_host=self._parties.peer_host,
            calling_ae_title=self._parties.calling_ae_title,
            sop_instance_uid=escaped(command.sop_instance_uid),
            reason=why,
        )
        self._layer.progressed()
        answer(status, why)

    def _answer(self, command: Command, context_id: int, status: int, comment: str = "") -> None:
        self._layer.send(pdus.command_pdu(context_id, response(command, status, comment)))
