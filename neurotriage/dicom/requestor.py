"""Associations as a requestor, with repairs of race conditions in pynetdicom 3.0.4."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_RJ

from neurotriage.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

# The reactor runs a thousand times a second, but a busy machine may delay it.
_REACTOR_END_S: Final = 10.0
# Source and reason of an A-ABORT by the peer's service provider (PS3.8 table 9-26).
_SERVICE_PROVIDER: Final = 2
_ABORT_REASONS: Final = {
    1: "unrecognised PDU",
    2: "unexpected PDU",
    4: "unrecognised PDU parameter",
    5: "unexpected PDU parameter",
    6: "invalid PDU parameter",
}


@dataclass(slots=True)
class AssociationTrace:
    """Records how an association ended; pynetdicom reports every end as an abort.

    Pass it to ``associate``, which binds its ``handlers``.
    """

    began_s: float = field(default_factory=time.monotonic)
    connected: bool = False
    abort: A_ABORT_RQ | None = None  # by the peer
    rejection: A_ASSOCIATE_RJ | None = None

    @property
    def handlers(self) -> list[evt.EventHandlerType]:
        return [(evt.EVT_CONN_OPEN, self._open), (evt.EVT_PDU_RECV, self._receive)]

    def _open(self, _: evt.Event) -> None:
        self.connected = True

    def _receive(self, event: evt.Event) -> None:
        if isinstance(event.pdu, A_ASSOCIATE_RJ):
            self.rejection = event.pdu
        elif isinstance(event.pdu, A_ABORT_RQ):
            self.abort = event.pdu

    def connect_failure(self, ae: AE) -> str:
        """Why no association was established, as a sentence without its subject. Not for a rejection."""
        waited_s = time.monotonic() - self.began_s
        if self.abort is not None:
            return f"aborted the association {_cause(self.abort)}instead of accepting it"
        if not self.connected:
            timeout_s = ae.connection_timeout or 0.0
            if timeout_s and waited_s >= timeout_s:
                return f"does not answer: no connection within {timeout_s:g} s"
            return "does not answer: the connection was refused, or the host cannot be reached"
        timeout_s = ae.acse_timeout or 0.0
        if timeout_s and waited_s >= timeout_s:
            return f"does not answer: it takes connections, and no association within {timeout_s:g} s"
        return "closed the connection instead of accepting the association"

    def response_failure(self) -> str:
        """Why no response came before the timeout, as a sentence."""
        if self.abort is not None:
            return f"the destination aborted the association {_cause(self.abort)}".rstrip()
        return "the connection was lost, or what came was no answer"


def _cause(abort: A_ABORT_RQ) -> str:
    if abort.source != _SERVICE_PROVIDER:
        return ""
    reason = _ABORT_REASONS.get(abort.reason_diagnostic or 0)
    return f"({reason}) " if reason else ""


def associate(
    ae: AE,
    host: str,
    port: int,
    *,
    called: str,
    tls_args: Any = None,
    ext_neg: Any = None,
    evt_handlers: Sequence[evt.EventHandlerType] = (),
    trace: AssociationTrace | None = None,
) -> Association:
    """``ae.associate`` under our implementation class UID, with three repairs.

    A peer that rejects at once may close the connection before pynetdicom checks it, which then reports that
    it was never reached. Here ``is_rejected`` and ``acceptor.primitive`` are those of the A-ASSOCIATE-RJ. The
    other two are ``_requeue_responses`` and ``_wait_for_reactor``. ``trace`` records how the association
    ends.

    Raises ``OSError`` where the host name does not resolve.
    """
    ae.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    trace = trace or AssociationTrace()
    handlers = [*evt_handlers, *trace.handlers]
    association = ae.associate(
        host, port, ae_title=called, tls_args=tls_args, ext_neg=ext_neg, evt_handlers=handlers
    )
    if trace.rejection is not None:
        association.is_rejected, association.is_aborted = True, False
        association.acceptor.primitive = trace.rejection.to_primitive()
    _requeue_responses(association)
    _wait_for_reactor(association)
    return association


def _requeue_responses(association: Association) -> None:
    """Have the reactor put responses back into the queue for the sender.

    A reactor that has just passed the checkpoint at which a request pauses it takes the response off the
    queue and drops it ("Received unexpected C-STORE service message"); the sender waits until its timeout.
    """
    serve = association._serve_request

    def serve_requests_only(message: Any, context_id: int) -> None:
        if message.is_valid_response:
            association.dimse.msg_queue.put((context_id, message))
        else:
            serve(message, context_id)

    association._serve_request = serve_requests_only  # type: ignore[method-assign,assignment]


def _wait_for_reactor(association: Association) -> None:
    """Have a sender without a response wait until the reactor has ended the association.

    Where the peer aborts instead of responding, the reactor notices it a moment after the sender; a request
    that is made in between would wait until its timeout.
    """
    end = association._handle_no_response

    def end_and_wait() -> None:
        end()
        association.join(_REACTOR_END_S)

    association._handle_no_response = end_and_wait  # type: ignore[method-assign]
