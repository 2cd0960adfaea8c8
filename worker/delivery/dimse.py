"""C-STORE as SCU."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association

from db.ledger import DueDelivery
from db.tables import DeliveryState
from neurotriage.core.errors import Refused, Unavailable
from neurotriage.core.headers import MALFORMED, first_line
from neurotriage.core.requestor import keep_answers
from neurotriage.core.settings import Destination
from neurotriage.core.values import ReasonCode
from worker.delivery.status import Verdict, verdict_of

_CONNECT_TIMEOUT_S: Final = 10.0
_ANSWER_TIMEOUT_S: Final = 60.0
# Result 3 of a refused presentation context (PS3.8 table 9-18): the abstract syntax is not supported.
_ABSTRACT_SYNTAX_REFUSED: Final = 3


@contextmanager
def association_with(
    destination: Destination, calling_ae_title: str, sop_classes: Sequence[str]
) -> Iterator[Association]:
    """An association that offers the given SOP classes. Raises ``Unavailable`` with a sentence."""
    ae = AE(calling_ae_title)
    ae.connection_timeout = _CONNECT_TIMEOUT_S
    ae.acse_timeout = _CONNECT_TIMEOUT_S
    ae.dimse_timeout = _ANSWER_TIMEOUT_S
    ae.network_timeout = _ANSWER_TIMEOUT_S
    for sop_class in sorted(set(sop_classes)):
        ae.add_requested_context(sop_class, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    try:
        association = keep_answers(
            ae.associate(destination.host, destination.port, ae_title=destination.ae_title)
        )
    except OSError as error:  # the name has no address
        raise Unavailable(f"{_where(destination)} does not answer: {error.strerror}") from error
    try:
        if not association.is_established and not association.rejected_contexts:
            raise Unavailable(_why_not(association, destination))
        yield association
    finally:
        if association.is_established:
            association.release()


def _why_not(association: Association, destination: Destination) -> str:
    where = _where(destination)
    if association.is_rejected:
        return f"{where} rejected the association; check both AE titles there"
    return f"{where} does not answer"


def _where(destination: Destination) -> str:
    return f"{destination.ae_title} at {destination.host}:{destination.port}"


def send(association: Association, path: Path, delivery: DueDelivery) -> Verdict:
    """Store one file. Any answer becomes a verdict; no answer means another try."""
    refused = {str(c.abstract_syntax): c.result for c in association.rejected_contexts}
    if delivery.sop_class_uid in refused:
        what = (
            "SOP class not supported"
            if refused[delivery.sop_class_uid] == _ABSTRACT_SYNTAX_REFUSED
            else "uncompressed transfer syntaxes not supported"
        )
        return Verdict(DeliveryState.REFUSED, f"refused at negotiation: {what}")
    try:
        dataset = _result(path, delivery.size_bytes)
    except Refused as damaged:
        return Verdict(DeliveryState.REFUSED, str(damaged))
    except OSError as error:  # the storage may come back
        return Verdict(DeliveryState.WAITING, f"the result file cannot be read: {error.strerror}")
    try:
        return verdict_of(association.send_c_store(dataset).get("Status"))
    except RuntimeError:  # the association ended before this object
        return verdict_of(None)


def _result(path: Path, size_bytes: int) -> FileDataset:
    """A result as it was written. Raises ``Refused`` where it is not, ``OSError`` where it cannot be read.

    One object that pydicom or pynetdicom chokes on would hold up all that wait behind it.
    """
    found_bytes = path.stat().st_size
    if found_bytes != size_bytes:
        raise Refused(
            ReasonCode.INTERNAL_ERROR,
            f"the result file is damaged: {found_bytes} bytes, {size_bytes} were written",
        )
    try:
        return dcmread(path)
    except (InvalidDicomError, *MALFORMED) as error:
        raise Refused(
            ReasonCode.INTERNAL_ERROR, f"the result file is damaged: {first_line(error)}"
        ) from error
