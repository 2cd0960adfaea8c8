"""One repair to pynetdicom's association requestor."""

from typing import Any

from pynetdicom.association import Association


def keep_answers(association: Association) -> Association:
    """Make sure that ``send_c_store`` gets its answer; returns the association.

    pynetdicom 3.0.4 pauses its reactor thread while a request is under way, but a reactor that has just
    passed the pause point can still take the answer off the queue and drop it ("Received unexpected C-STORE
    service message"); the sender then waits until its timeout. Here the reactor puts answers back.
    """
    serve = association._serve_request

    def serve_requests_only(message: Any, context_id: int) -> None:
        if message.is_valid_response:
            association.dimse.msg_queue.put((context_id, message))
        else:
            serve(message, context_id)

    association._serve_request = serve_requests_only  # type: ignore[method-assign,assignment]
    return association
