"""Associations as a requestor, with what pynetdicom 3.0.4 gets wrong on a busy machine put right."""

from collections.abc import Sequence
from typing import Any, Final

from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.pdu import A_ASSOCIATE_RJ

from neurotriage.core.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

# The reactor looks a thousand times a second; a busy machine may hold it up.
_NOTICED_S: Final = 10.0


def associate(
    ae: AE,
    host: str,
    port: int,
    *,
    called: str,
    tls_args: Any = None,
    evt_handlers: Sequence[evt.EventHandlerType] = (),
) -> Association:
    """``ae.associate``, under our implementation class UID, with three repairs.

    Raises ``OSError`` where the host has no address.

    A peer that rejects at once has closed the connection before pynetdicom looks whether there is one, and
    is taken for one that was never reached. Here ``is_rejected`` and the answer hold what it said.
    """
    ae.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    rejections: list[A_ASSOCIATE_RJ] = []

    def note_rejection(event: evt.Event) -> None:
        if isinstance(event.pdu, A_ASSOCIATE_RJ):
            rejections.append(event.pdu)

    handlers = [*evt_handlers, (evt.EVT_PDU_RECV, note_rejection)]
    association = ae.associate(host, port, ae_title=called, tls_args=tls_args, evt_handlers=handlers)
    if rejections:
        association.is_rejected, association.is_aborted = True, False
        association.acceptor.primitive = rejections[0].to_primitive()
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
