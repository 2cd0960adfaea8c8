"""A DIMSE connection to a destination: C-STORE, storage commitment and C-FIND as SCU."""

import math
import queue
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Final

import structlog
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless
from pynetdicom import evt
from pynetdicom.association import Association

from db.delivery.deliveries import DueDelivery
from neurotriage.core.errors import Refused, Unavailable
from neurotriage.core.settings import Destination
from neurotriage.core.states import DeliveryState
from neurotriage.dicom.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE, CommitmentReport, report_of
from neurotriage.dicom.headers import MALFORMED, text
from neurotriage.dicom.requestor import AssociationTrace
from worker.delivery.client import NotServed, Unanswered, by_series, comment, matched, result_file
from worker.delivery.status import StoreResult, not_understood, store_result

log = structlog.get_logger()

# For archives that report on a storage commitment over the association on which it was requested.
_REPORT_WAIT_S: Final = 1.0
_QUERY_LIMIT_S: Final = 60.0
# To the first response, and from one to the next; some archives accept queries and answer none.
_QUERY_ANSWER_S: Final = 15.0
# Result of a rejected presentation context (PS3.8 table 9-18). Some archives give 1 or 2 for any SOP class
# that they do not know, so neither tells whether the class or its transfer syntaxes are rejected.
_CONTEXT_RESULTS: Final = {
    1: "the destination rejects this SOP class (user rejection)",
    2: "the destination gives no reason",
    3: "SOP class not supported",
    4: "uncompressed transfer syntaxes not supported",
}
_UNKNOWN_CLASS: Final = 3
UNCOMPRESSED: Final = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_PENDING: Final = (0xFF00, 0xFF01)
_OUT_OF_RESOURCES: Final = 0xA700
NO_QUERY: Final = "no query is offered"
STUDY_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
SUCCESS: Final = 0x0000


def name_of(destination: Destination) -> str:
    """AE title, host and port of a destination, for a sentence."""
    return f"{destination.ae_title} at {destination.host}:{destination.port}"


class DimseClient:
    """A client over an association, also over one whose presentation contexts were all rejected.

    ``reports`` receives the N-EVENT-REPORTs that come on the association.
    """

    def __init__(
        self,
        association: Association,
        destination: Destination,
        reports: "queue.SimpleQueue[evt.Event]",
        trace: AssociationTrace,
    ) -> None:
        self._association = association
        self._destination = destination
        self._reports = reports
        self._trace = trace
        self._accepted = {str(context.abstract_syntax) for context in association.accepted_contexts}

    def syntaxes(self, sop_class_uid: str) -> tuple[str, ...]:
        """The transfer syntaxes in which a SOP class was accepted; empty where it was rejected."""
        accepted = self._association.accepted_contexts
        return tuple(str(c.transfer_syntax[0]) for c in accepted if c.abstract_syntax == sop_class_uid)

    def echo(self) -> bool:
        """Whether a C-ECHO (PS3.7 9.1.5) succeeds; ``VERIFICATION`` must have been proposed."""
        try:
            return bool(self._association.send_c_echo().get("Status") == SUCCESS)
        except (RuntimeError, ValueError):
            return False

    @property
    def ae_title(self) -> str:
        return self._destination.ae_title.strip()

    @property
    def ended(self) -> bool:
        """True once the association is over; False where all contexts were rejected and there was none."""
        return bool(self._accepted) and not self._association.is_established

    def store(self, path: Path, delivery: DueDelivery) -> StoreResult:
        """Send a result file by C-STORE (PS3.7 9.1.1), compressed where JPEG-LS was accepted.

        It is sent uncompressed where compression fails or the peer cannot understand it. Where the
        association ends without a response, the result is ``WAITING``. Raises ``Unavailable`` after a
        timeout.
        """
        if delivery.sop_class_uid not in self._accepted:
            why = self.refusal(delivery.sop_class_uid)
            return StoreResult(DeliveryState.REFUSED, f"refused at negotiation: {why}")
        try:
            dataset = result_file(path, delivery.size_bytes)
        except Refused as damaged:
            return StoreResult(DeliveryState.REFUSED, str(damaged))
        except OSError as error:  # the storage may come back
            return StoreResult(DeliveryState.WAITING, f"the result file cannot be read: {error.strerror}")
        syntaxes = self.syntaxes(delivery.sop_class_uid)
        small = _compressed(dataset) if JPEGLSLossless in syntaxes else None
        plain = any(syntax in syntaxes for syntax in UNCOMPRESSED)
        if small is not None:
            answer = self._send(small)
            if not (plain and "Status" in answer and not_understood(answer.Status)):
                return self._result(answer)
        if not plain:
            return StoreResult(
                DeliveryState.REFUSED, "it cannot be compressed, and is not taken uncompressed"
            )
        return self._result(self._send(dataset))

    def _send(self, dataset: Dataset) -> Dataset:
        """The response; empty where the association ended first. Raises ``Unavailable`` after a timeout."""
        sent_s = time.monotonic()
        try:
            answer = self._association.send_c_store(dataset)
        except RuntimeError:
            return Dataset()
        timeout_s = self._association.dimse_timeout or math.inf
        if "Status" not in answer and time.monotonic() - sent_s >= timeout_s:
            name = name_of(self._destination)
            raise Unavailable(f"{name} does not answer: no answer to an object within {timeout_s:g} s")
        return answer

    def _result(self, answer: Dataset) -> StoreResult:
        if "Status" not in answer:
            return StoreResult(DeliveryState.WAITING, f"no answer: {self._trace.response_failure()}")
        return replace(store_result(answer.Status), comment=comment(answer.get("ErrorComment")))

    def refusal(self, sop_class_uid: str) -> str:
        """Why no presentation context of a SOP class was accepted (PS3.8 table 9-18), for a sentence."""
        rejected = self._association.rejected_contexts
        results = {cx.result for cx in rejected if str(cx.abstract_syntax) == sop_class_uid}
        known = [words for result, words in _CONTEXT_RESULTS.items() if result in results]
        if _UNKNOWN_CLASS in results or not known:
            return _CONTEXT_RESULTS[_UNKNOWN_CLASS] if results else "no context was answered"
        return ", ".join(known)

    @property
    def answers_queries(self) -> bool:
        """True where Study Root C-FIND was accepted."""
        return STUDY_ROOT_FIND in self._accepted

    @property
    def commits(self) -> bool:
        return PUSH_MODEL in self._accepted and self._association.is_established

    def commit(self, transaction_uid: str, objects: Sequence[DueDelivery]) -> CommitmentReport | None:
        """Request storage commitment by N-ACTION (PS3.4 J.3.2); the report, if it comes within a second.

        Raises ``Unavailable`` where the request is not accepted.
        """
        request = Dataset()
        request.TransactionUID = transaction_uid
        request.ReferencedSOPSequence = DicomSequence([_reference(item) for item in objects])
        try:
            answer, _ = self._association.send_n_action(request, 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
        except (RuntimeError, ValueError) as error:
            raise Unavailable("the association ended before storage commitment was asked for") from error
        status = answer.get("Status")
        if status != SUCCESS:
            answered = "no answer" if status is None else f"0x{status:04X}"
            raise Unavailable(f"storage commitment was refused ({answered})")
        try:
            return report_of(self._reports.get(timeout=_REPORT_WAIT_S).event_information)
        except (queue.Empty, Refused, *MALFORMED):
            return None

    def present(self, objects: Sequence[DueDelivery]) -> frozenset[str]:
        """Query by Study Root C-FIND (PS3.4 C.4.1), once per series. Raises as ``ArchiveClient``."""
        if not self.answers_queries:
            raise NotServed(NO_QUERY)
        level = self._destination.find
        present: set[str] = set()
        for study_uid, series_instance_uid, uids in by_series(objects):
            answers = self._query(_identifier(level.upper(), study_uid, series_instance_uid))
            present |= matched(level, series_instance_uid, uids, answers)
        return frozenset(present)

    def _query(self, identifier: Dataset) -> list[tuple[str, str]]:
        """Series and SOP Instance UID of each match (PS3.7 9.1.2). Raises as ``present`` does."""
        matches: list[tuple[str, str]] = []
        asked_s = time.monotonic()
        usual_timeout_s = self._association.dimse_timeout
        self._association.dimse_timeout = _QUERY_ANSWER_S
        try:
            for answer, match in self._association.send_c_find(identifier, STUDY_ROOT_FIND):
                status = answer.get("Status")
                if status is None or time.monotonic() > asked_s + _QUERY_LIMIT_S:
                    break
                if status in _PENDING:
                    keys = match or Dataset()
                    matches.append((text(keys, "SeriesInstanceUID"), text(keys, "SOPInstanceUID")))
                elif status == SUCCESS:
                    return matches
                elif status & 0xFF00 == _OUT_OF_RESOURCES:
                    raise Unavailable(f"the query was answered 0x{status:04X}")
                else:
                    raise NotServed(f"the query was answered 0x{status:04X}")
        except (RuntimeError, ValueError) as error:
            raise Unavailable("the association ended before the query") from error
        finally:
            self._association.dimse_timeout = usual_timeout_s
        waited_s = time.monotonic() - asked_s
        if self._association.is_established:
            self._association.abort()  # the peer may go on sending matches
        if waited_s < _QUERY_ANSWER_S:
            raise Unavailable(f"the query was not answered: {self._trace.response_failure()}")
        raise Unanswered(f"the query was not answered within {_QUERY_ANSWER_S:g} s")


def _compressed(dataset: FileDataset) -> FileDataset | None:
    """A copy in JPEG-LS lossless with the same UID (PS3.4 B.4.1.3, PS3.5 8.2.3); None where that fails."""
    small = deepcopy(dataset)
    try:
        small.compress(JPEGLSLossless, generate_instance_uid=False)
    except Exception as error:  # noqa: BLE001 - an encoder's failure costs the compression, not the object
        log.warning(
            "compression_failed", sop_instance_uid=str(dataset.SOPInstanceUID), kind=type(error).__name__
        )
        return None
    return small


def _reference(item: DueDelivery) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = item.sop_class_uid
    reference.ReferencedSOPInstanceUID = item.sop_instance_uid
    return reference


def _identifier(level: str, study_uid: str, series_instance_uid: str) -> Dataset:
    """The keys of a query for all instances of a series, or for the series (PS3.4 C.6.2.1)."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    identifier.StudyInstanceUID = study_uid
    identifier.SeriesInstanceUID = series_instance_uid
    if level == "IMAGE":
        identifier.SOPInstanceUID = ""
    return identifier
