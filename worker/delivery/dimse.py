"""Associations with DIMSE destinations: what is proposed, and why one is not established."""

import queue
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from pydicom.uid import (
    JPEGLSLossless,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from neurotriage.core.errors import Unavailable
from neurotriage.core.settings import Destination
from neurotriage.dicom.commitment import PUSH_MODEL
from neurotriage.dicom.requestor import AssociationTrace, associate
from worker.delivery.client import Misconfigured
from worker.delivery.dimse_client import STUDY_ROOT_FIND, SUCCESS, UNCOMPRESSED, DimseClient, name_of
from worker.delivery.tls import HandshakeRecorder, client_context

_CONNECT_TIMEOUT_S: Final = 10.0
_ANSWER_TIMEOUT_S: Final = 60.0
# A peer that reads nothing for this long has stopped; the object is sent again later.
_SEND_TIMEOUT_S: Final = 30.0
_PICTURES: Final = (SecondaryCaptureImageStorage, MultiFrameTrueColorSecondaryCaptureImageStorage)
VERIFICATION: Final = "1.2.840.10008.1.1"
_CALLING_UNKNOWN: Final = 3  # diagnostic of an A-ASSOCIATE-RJ, PS3.8 table 9-21


@contextmanager
def connect(
    destination: Destination, calling_ae_title: str, sop_classes: Iterable[str]
) -> Iterator["DimseClient"]:
    """Open an association that proposes the ``requested_contexts``; it is released at the end of the block.

    Raises ``Misconfigured`` where a person has to act, else ``Unavailable``, with a sentence for the record.
    """
    ae = AE(calling_ae_title)
    ae.connection_timeout = _CONNECT_TIMEOUT_S
    ae.acse_timeout = _CONNECT_TIMEOUT_S
    ae.dimse_timeout = _ANSWER_TIMEOUT_S
    ae.network_timeout = _ANSWER_TIMEOUT_S
    ae.requested_contexts = requested_contexts(destination, sop_classes)
    reports: queue.SimpleQueue[evt.Event] = queue.SimpleQueue()
    trace = AssociationTrace()
    association = _associate(ae, destination, reports, trace)
    try:
        yield DimseClient(association, destination, reports, trace)
    finally:
        if association.is_established:
            association.release()


def requested_contexts(destination: Destination, sop_classes: Iterable[str]) -> list[PresentationContext]:
    """Presentation contexts (PS3.8 9.3.2.2) for objects of the given SOP classes, commitment and query.

    A SOP class has a context for each transfer syntax, so that a peer may reject one and accept another.
    """
    contexts = [
        build_context(uid, syntax)
        for uid in sorted(set(sop_classes))
        for syntax in ((JPEGLSLossless, *UNCOMPRESSED) if _may_compress(destination, uid) else UNCOMPRESSED)
    ]
    if destination.commitment == "auto":
        contexts.append(build_context(PUSH_MODEL, list(UNCOMPRESSED)))
    if destination.find != "off":
        contexts.append(build_context(STUDY_ROOT_FIND, list(UNCOMPRESSED)))
    return contexts


def _may_compress(destination: Destination, sop_class_uid: str) -> bool:
    return destination.compression == "jpeg-ls" and sop_class_uid in _PICTURES


def _associate(
    ae: AE, destination: Destination, reports: "queue.SimpleQueue[evt.Event]", trace: AssociationTrace
) -> Association:
    def receive_report(event: evt.Event) -> tuple[int, None]:
        reports.put(event)
        return SUCCESS, None

    handlers: list[evt.EventHandlerType] = [
        (evt.EVT_N_EVENT_REPORT, receive_report),
        (evt.EVT_CONN_OPEN, _limit_sending),
    ]
    name = name_of(destination)
    tls = None if destination.tls is None else HandshakeRecorder(client_context(destination.tls))
    try:
        association = associate(
            ae,
            destination.host,
            destination.port,
            called=destination.ae_title,
            tls_args=None if tls is None else (tls.context, destination.host),
            evt_handlers=handlers,
            trace=trace,
        )
    except OSError as error:  # the host name does not resolve
        raise Unavailable(f"{name} does not answer: {error.strerror}") from error
    if association.is_established or association.rejected_contexts:
        return association
    if association.is_rejected:
        raise _rejection(association, name, ae.ae_title)
    if tls is not None and tls.failure is not None:
        raise Misconfigured(f"{name} cannot be trusted, or does not trust us: {tls.failure}")
    raise Unavailable(f"{name} {trace.connect_failure(ae)}")


def _limit_sending(event: evt.Event) -> None:
    """A limit for each write: pynetdicom would wait for ever for a peer that does not read."""
    connection = event.assoc.dul.socket
    if connection is not None and connection.socket is not None:
        connection.socket.settimeout(_SEND_TIMEOUT_S)


def _rejection(association: Association, name: str, ours: str) -> Unavailable:
    """The error for an A-ASSOCIATE-RJ (PS3.8 table 9-21); a permanent rejection needs a person."""
    answer = association.acceptor.primitive
    text = f"{name} rejected the association; check both AE titles there"
    if answer is None or (answer.result, answer.result_source) != (1, 1):
        return Unavailable(f"{name} rejected the association for now")
    if answer.diagnostic == _CALLING_UNKNOWN:
        text = f"{name} rejected the association; it does not know our AE title {ours}"
    return Misconfigured(text)
