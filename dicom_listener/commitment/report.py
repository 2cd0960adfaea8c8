"""Reports to a peer what was committed: N-EVENT-REPORT on an association of our own (PS3.4 J.3.3)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_role
from pynetdicom.association import Association

from db.commitments import DueReport
from neurotriage.core.errors import Unavailable
from neurotriage.core.settings import Peer
from neurotriage.dicom.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE
from neurotriage.dicom.requestor import AssociationTrace, associate

_CONNECT_S: Final = 10.0
_ANSWER_S: Final = 30.0
# Event types of the Push Model (PS3.4 table J.3-3).
_ALL_COMMITTED: Final = 1
_WITH_FAILURES: Final = 2


@contextmanager
def association_with(peer: Peer, host: str, our_ae_title: str) -> Iterator[Association]:
    """An association on which we report as SCP (PS3.7 D.3.3.4). Raises ``Unavailable`` without one."""
    entity = AE(our_ae_title)
    entity.connection_timeout = entity.acse_timeout = _CONNECT_S
    entity.dimse_timeout = entity.network_timeout = _ANSWER_S
    entity.add_requested_context(PUSH_MODEL, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    trace = AssociationTrace()
    title = peer.ae_title.strip()
    try:
        association = associate(
            entity,
            host,
            peer.port or 0,
            called=title,
            ext_neg=[build_role(PUSH_MODEL, scp_role=True)],
            trace=trace,
        )
    except OSError as error:
        raise Unavailable(f"{title}: {error.strerror or error}") from error
    if association.is_rejected:
        raise Unavailable(f"{title} rejects the association")
    if not association.is_established:
        # All contexts rejected, and nothing else, is an association that pynetdicom aborts by itself.
        if association.rejected_contexts:
            raise Unavailable(f"{title} does not take reports of storage commitment: it rejects the context")
        raise Unavailable(f"{title} {trace.connect_failure(entity)}")
    try:
        yield association
    finally:
        association.release()


def send_report(association: Association, report: DueReport) -> int:
    """Send a report; the status of the answer (PS3.7 10.1.1.1.8). Raises ``Unavailable`` without one."""
    event_type = _WITH_FAILURES if report.failed else _ALL_COMMITTED
    try:
        answer, _ = association.send_n_event_report(
            information(report), event_type, PUSH_MODEL, PUSH_MODEL_INSTANCE
        )
    except (RuntimeError, ValueError) as error:
        raise Unavailable("the association ended before the report") from error
    if "Status" not in answer:
        raise Unavailable("the report was not answered")
    return int(answer.Status)


def information(report: DueReport) -> Dataset:
    """The Event Information of a report (PS3.4 table J.3-3)."""
    told = Dataset()
    told.TransactionUID = report.transaction_uid
    if report.committed:
        told.ReferencedSOPSequence = _items(report.committed)
    if report.failed:
        told.FailedSOPSequence = _items([(sop_class, instance) for sop_class, instance, _ in report.failed])
        for item, (*_, reason) in zip(told.FailedSOPSequence, report.failed, strict=True):
            item.FailureReason = reason
    return told


def _items(references: Sequence[tuple[str, str]]) -> DicomSequence:
    items = []
    for sop_class, instance in references:
        item = Dataset()
        item.ReferencedSOPClassUID = sop_class
        item.ReferencedSOPInstanceUID = instance
        items.append(item)
    return DicomSequence(items)
