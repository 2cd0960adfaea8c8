"""C-STORE, storage commitment and C-FIND as SCU."""

import queue
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Final

import structlog
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from db.deliveries import DueDelivery
from neurotriage.core.errors import Refused, Unavailable
from neurotriage.core.settings import Destination
from neurotriage.core.states import DeliveryState
from neurotriage.dicom.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE, CommitmentReport, report_of
from neurotriage.dicom.headers import MALFORMED, text
from neurotriage.dicom.requestor import Course, associate
from worker.delivery.client import (
    Misconfigured,
    NotServed,
    Unanswered,
    by_series,
    comment,
    matched,
    result_file,
)
from worker.delivery.status import StoreResult, not_understood, verdict_of
from worker.delivery.tls import Handshakes, client_context

log = structlog.get_logger()

_CONNECT_TIMEOUT_S: Final = 10.0
_ANSWER_TIMEOUT_S: Final = 60.0
# A peer that reads nothing for this long has stopped; what it was sent is tried again.
_SEND_TIMEOUT_S: Final = 30.0
# For archives that answer a storage commitment on the association on which it was asked.
_REPORT_WAIT_S: Final = 1.0
_QUERY_LIMIT_S: Final = 60.0
# To the first answer, and from one to the next; some archives accept queries and answer none.
_QUERY_ANSWER_S: Final = 15.0
# Result of a refused presentation context (PS3.8 table 9-18). Some archives say 1 or 2 of any class that
# they do not know, so neither says whether it is the class or its syntaxes.
_CONTEXT_RESULTS: Final = {
    1: "the destination rejects this SOP class (user rejection)",
    2: "the destination gives no reason",
    3: "SOP class not supported",
    4: "uncompressed transfer syntaxes not supported",
}
_UNKNOWN_CLASS: Final = 3
_SYNTAXES: Final = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_PICTURES: Final = (SecondaryCaptureImageStorage, MultiFrameTrueColorSecondaryCaptureImageStorage)
_PENDING: Final = (0xFF00, 0xFF01)
_OUT_OF_RESOURCES: Final = 0xA700
NO_QUERY: Final = "no query is offered"
_STUDY_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
_SUCCESS: Final = 0x0000
VERIFICATION: Final = "1.2.840.10008.1.1"
_CALLING_UNKNOWN: Final = 3  # diagnostic of an A-ASSOCIATE-RJ, PS3.8 table 9-21


@contextmanager
def connect(
    destination: Destination, calling_ae_title: str, sop_classes: Iterable[str]
) -> Iterator["DimsePeer"]:
    """An association that offers the ``requested_contexts``. Raises ``Unavailable`` with a sentence."""
    ae = AE(calling_ae_title)
    ae.connection_timeout = _CONNECT_TIMEOUT_S
    ae.acse_timeout = _CONNECT_TIMEOUT_S
    ae.dimse_timeout = _ANSWER_TIMEOUT_S
    ae.network_timeout = _ANSWER_TIMEOUT_S
    ae.requested_contexts = requested_contexts(destination, sop_classes)
    reports: queue.SimpleQueue[evt.Event] = queue.SimpleQueue()
    course = Course()
    association = _associate(ae, destination, reports, course)
    try:
        yield DimsePeer(association, destination, reports, course)
    finally:
        if association.is_established:
            association.release()


def requested_contexts(destination: Destination, sop_classes: Iterable[str]) -> list[PresentationContext]:
    """Presentation contexts for objects of the given SOP classes, storage commitment and query.

    Objects have one context per transfer syntax, so that a peer refuses one without refusing all.
    """
    contexts = [
        build_context(uid, syntax)
        for uid in sorted(set(sop_classes))
        for syntax in ((JPEGLSLossless, *_SYNTAXES) if _may_compress(destination, uid) else _SYNTAXES)
    ]
    if destination.commitment == "auto":
        contexts.append(build_context(PUSH_MODEL, list(_SYNTAXES)))
    if destination.find != "off":
        contexts.append(build_context(_STUDY_ROOT_FIND, list(_SYNTAXES)))
    return contexts


def _may_compress(destination: Destination, sop_class_uid: str) -> bool:
    return destination.compression == "jpeg-ls" and sop_class_uid in _PICTURES


def _associate(
    ae: AE, destination: Destination, reports: "queue.SimpleQueue[evt.Event]", course: Course
) -> Association:
    def take_report(event: evt.Event) -> tuple[int, None]:
        reports.put(event)
        return _SUCCESS, None

    handlers: list[evt.EventHandlerType] = [
        (evt.EVT_N_EVENT_REPORT, take_report),
        (evt.EVT_CONN_OPEN, _limit_sending),
    ]
    where = _where(destination)
    tls = None if destination.tls is None else Handshakes(client_context(destination.tls))
    try:
        association = associate(
            ae,
            destination.host,
            destination.port,
            called=destination.ae_title,
            tls_args=None if tls is None else (tls.context, destination.host),
            evt_handlers=handlers,
            course=course,
        )
    except OSError as error:  # the name has no address
        raise Unavailable(f"{where} does not answer: {error.strerror}") from error
    if association.is_established or association.rejected_contexts:
        return association
    if association.is_rejected:
        raise _rejection(association, where, ae.ae_title)
    if tls is not None and tls.failure is not None:
        raise Misconfigured(f"{where} cannot be trusted, or does not trust us: {tls.failure}")
    raise Unavailable(f"{where} {course.why_none(ae)}")


def _where(destination: Destination) -> str:
    return f"{destination.ae_title} at {destination.host}:{destination.port}"


def _limit_sending(event: evt.Event) -> None:
    """pynetdicom would wait for ever for a peer that does not read."""
    connection = event.assoc.dul.socket
    if connection is not None and connection.socket is not None:
        connection.socket.settimeout(_SEND_TIMEOUT_S)


def _rejection(association: Association, where: str, ours: str) -> Unavailable:
    """What an A-ASSOCIATE-RJ says (PS3.8 table 9-21); what is permanent needs a person."""
    answer = association.acceptor.primitive
    text = f"{where} rejected the association; check both AE titles there"
    if answer is None or (answer.result, answer.result_source) != (1, 1):
        return Unavailable(f"{where} rejected the association for now")
    if answer.diagnostic == _CALLING_UNKNOWN:
        text = f"{where} rejected the association; it does not know our AE title {ours}"
    return Misconfigured(text)


class DimsePeer:
    """An established association, or one of which every context was refused."""

    def __init__(
        self,
        association: Association,
        destination: Destination,
        reports: "queue.SimpleQueue[evt.Event]",
        course: Course,
    ) -> None:
        self._association = association
        self._destination = destination
        self._reports = reports
        self._course = course
        self._accepted = {str(context.abstract_syntax) for context in association.accepted_contexts}

    def syntaxes(self, sop_class_uid: str) -> tuple[str, ...]:
        """The transfer syntaxes in which a SOP class was accepted; empty where it was refused."""
        accepted = self._association.accepted_contexts
        return tuple(str(c.transfer_syntax[0]) for c in accepted if c.abstract_syntax == sop_class_uid)

    def echo(self) -> bool:
        """Whether a C-ECHO (PS3.4 annex A) is answered, where ``VERIFICATION`` was offered."""
        try:
            return bool(self._association.send_c_echo().get("Status") == _SUCCESS)
        except (RuntimeError, ValueError):
            return False

    @property
    def ae_title(self) -> str:
        return self._destination.ae_title.strip()

    @property
    def ended(self) -> bool:
        """True once the association is over; one of which every context was refused never was one."""
        return bool(self._accepted) and not self._association.is_established

    def store(self, path: Path, delivery: DueDelivery) -> StoreResult:
        """Send one object by C-STORE (PS3.4 annex B), compressed where that was agreed on.

        What cannot be compressed, or is not understood compressed, goes as it is. An association that ends
        instead of an answer means another try; raises ``Unavailable`` where it only stays silent.
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
        plain = any(syntax in syntaxes for syntax in _SYNTAXES)
        if small is not None:
            answer = self._send(small)
            if not (plain and "Status" in answer and not_understood(answer.Status)):
                return self._verdict(answer)
        if not plain:
            return StoreResult(
                DeliveryState.REFUSED, "it cannot be compressed, and is not taken uncompressed"
            )
        return self._verdict(self._send(dataset))

    def _send(self, dataset: Dataset) -> Dataset:
        """The answer; empty where the association ended before it came. Raises ``Unavailable``."""
        sent_s = time.monotonic()
        try:
            answer = self._association.send_c_store(dataset)
        except RuntimeError:
            return Dataset()
        if "Status" not in answer and time.monotonic() - sent_s >= _ANSWER_TIMEOUT_S:
            where = _where(self._destination)
            raise Unavailable(
                f"{where} does not answer: no answer to an object within {_ANSWER_TIMEOUT_S:g} s"
            )
        return answer

    def _verdict(self, answer: Dataset) -> StoreResult:
        if "Status" not in answer:
            return StoreResult(DeliveryState.WAITING, f"no answer: {self._course.why_silent()}")
        return replace(verdict_of(answer.Status), comment=comment(answer.get("ErrorComment")))

    def refusal(self, sop_class_uid: str) -> str:
        """Why no presentation context of a SOP class was accepted (PS3.8 table 9-18)."""
        rejected = self._association.rejected_contexts
        results = {cx.result for cx in rejected if str(cx.abstract_syntax) == sop_class_uid}
        known = [words for result, words in _CONTEXT_RESULTS.items() if result in results]
        if _UNKNOWN_CLASS in results or not known:
            return _CONTEXT_RESULTS[_UNKNOWN_CLASS] if results else "no context was answered"
        return ", ".join(known)

    @property
    def answers_queries(self) -> bool:
        """True where objects can be looked for."""
        return _STUDY_ROOT_FIND in self._accepted

    @property
    def commits(self) -> bool:
        return PUSH_MODEL in self._accepted and self._association.is_established

    def commit(self, transaction_uid: str, objects: Sequence[DueDelivery]) -> CommitmentReport | None:
        """Ask by N-ACTION (PS3.4 J.3.2); the report that came on this association within a moment."""
        request = Dataset()
        request.TransactionUID = transaction_uid
        request.ReferencedSOPSequence = DicomSequence([_reference(item) for item in objects])
        try:
            answer, _ = self._association.send_n_action(request, 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
        except (RuntimeError, ValueError) as error:
            raise Unavailable("the association ended before storage commitment was asked for") from error
        status = answer.get("Status")
        if status != _SUCCESS:
            what = "no answer" if status is None else f"0x{status:04X}"
            raise Unavailable(f"storage commitment was refused ({what})")
        try:
            return report_of(self._reports.get(timeout=_REPORT_WAIT_S).event_information)
        except (queue.Empty, Refused, *MALFORMED):
            return None

    def present(self, objects: Sequence[DueDelivery]) -> frozenset[str]:
        """Look for objects by C-FIND at the Study Root (PS3.4 C.4.1), one query per series."""
        if not self.answers_queries:
            raise NotServed(NO_QUERY)
        level = self._destination.find
        found: set[str] = set()
        for study_uid, series_uid, uids in by_series(objects):
            answers = self._query(_identifier(level.upper(), study_uid, series_uid))
            found |= matched(level, series_uid, uids, answers)
        return frozenset(found)

    def _query(self, identifier: Dataset) -> list[tuple[str, str]]:
        """Series and SOP Instance UID of each match. Raises as ``present`` does."""
        matches: list[tuple[str, str]] = []
        asked_s = time.monotonic()
        self._association.dimse_timeout = _QUERY_ANSWER_S
        try:
            for answer, match in self._association.send_c_find(identifier, _STUDY_ROOT_FIND):
                status = answer.get("Status")
                if status is None or time.monotonic() > asked_s + _QUERY_LIMIT_S:
                    break
                if status in _PENDING:
                    keys = match or Dataset()
                    matches.append((text(keys, "SeriesInstanceUID"), text(keys, "SOPInstanceUID")))
                elif status == _SUCCESS:
                    return matches
                elif status & 0xFF00 == _OUT_OF_RESOURCES:
                    raise Unavailable(f"the query was answered 0x{status:04X}")
                else:
                    raise NotServed(f"the query was answered 0x{status:04X}")
        except (RuntimeError, ValueError) as error:
            raise Unavailable("the association ended before the query") from error
        finally:
            self._association.dimse_timeout = _ANSWER_TIMEOUT_S
        waited_s = time.monotonic() - asked_s
        if self._association.is_established:
            self._association.abort()  # answers without end
        if waited_s < _QUERY_ANSWER_S:
            raise Unavailable(f"the query was not answered: {self._course.why_silent()}")
        raise Unanswered(f"the query was not answered within {_QUERY_ANSWER_S:g} s")


def _compressed(dataset: FileDataset) -> FileDataset | None:
    """The same object with the same pixels (PS3.4 B.4.1.3, PS3.5 8.2.3), or None where that fails."""
    small = deepcopy(dataset)
    try:
        small.compress(JPEGLSLossless, generate_instance_uid=False)
    except Exception as error:  # noqa: BLE001 - whatever ails an encoder costs the compression, not the object
        log.warning("not_compressed", sop_instance_uid=str(dataset.SOPInstanceUID), kind=type(error).__name__)
        return None
    return small


def _reference(item: DueDelivery) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = item.sop_class_uid
    reference.ReferencedSOPInstanceUID = item.sop_instance_uid
    return reference


def _identifier(level: str, study_uid: str, series_uid: str) -> Dataset:
    """All instances of a series, or the series."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    identifier.StudyInstanceUID = study_uid
    identifier.SeriesInstanceUID = series_uid
    if level == "IMAGE":
        identifier.SOPInstanceUID = ""
    return identifier
