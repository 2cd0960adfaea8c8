"""Associations as a requestor, with what pynetdicom 3.0.4 gets wrong on a busy machine put right."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_RJ

from neurotriage.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

# The reactor looks a thousand times a second; a busy machine may hold it up.
_NOTICED_S: Final = 10.0
# Who aborts, and why where it is the library of the peer (PS3.8 table 9-26).
_ABORTED_BY_LIBRARY: Final = 2
_ABORT_REASONS: Final = {
    1: "unrecognised PDU",
    2: "unexpected PDU",
    4: "unrecognised PDU parameter",
    5: "unexpected PDU parameter",
    6: "invalid PDU parameter",
}


@dataclass(slots=True)
class AssociationTrace:
    """What became of an association, as the network saw it: pynetdicom calls every end an abort."""

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
        """Why there is no association, behind the name of the peer. Not for a rejection."""
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
        """Why an answer did not come, though the time for it was not up."""
        if self.abort is not None:
            return f"the destination aborted the association {_cause(self.abort)}".rstrip()
        return "the connection was lost, or what came was no answer"


def _cause(abort: A_ABORT_RQ) -> str:
    if abort.source != _ABORTED_BY_LIBRARY:
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
    evt_handlers: Sequence[evt.EventHandlerType] = (),
    trace: AssociationTrace | None = None,
) -> Association:
    """``ae.associate``, under our implementation class UID, with three repairs.

    Raises ``OSError`` where the host has no address.

    A peer that rejects at once has closed the connection before pynetdicom looks whether there is one, and
    is taken for one that was never reached. Here ``is_rejected`` and the answer hold what it said, and
    ``trace`` how it went.
    """
    ae.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    trace = trace or AssociationTrace()
    handlers = [*evt_handlers, *trace.handlers]
    association = ae.associate(host, port, ae_title=called, tls_args=tls_args, evt_handlers=handlers)
    if trace.rejection is not None:
        association.is_rejected, association.is_aborted = True, False
        association.acceptor.primitive = trace.rejection.to_primitive()
    _keep_answers(association)
    _wait_for_the_end(association)
    return association


def _keep_answers(association: Association) -> None:
    """A sender gets its answer.

    A reactor that has just passed the point where it is paused for a request takes the answer off the queue
    and drops it ("Received unexpected C-STORE service message"); the sender then waits until its timeout.
    Here the reactor puts answers back.
    """
    serve = association._serve_request

    def serve_requests_only(message: Any, context_id: int) -> None:
        if message.is_valid_response:
            association.dimse.msg_queue.put((context_id, message))
        else:
            serve(message, context_id)

    association._serve_request = serve_requests_only  # type: ignore[method-assign,assignment]


def _wait_for_the_end(association: Association) -> None:
    """Nothing is asked of an association that has ended.

    Where the peer aborts instead of an answer, the reactor notices it a moment after the sender; a request
    that is made in between waits until its timeout. Here a sender without an answer waits for the reactor.
    """
    end = association._handle_no_response

    def end_and_wait() -> None:
        end()
        association.join(_NOTICED_S)

    association._handle_no_response = end_and_wait  # type: ignore[method-assign]
