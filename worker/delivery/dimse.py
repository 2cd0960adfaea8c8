"""C-STORE, storage commitment and C-FIND as SCU."""

import queue
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
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

from db.ledger import DueDelivery
from db.tables import DeliveryState
from neurotriage.core.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE, CommitmentReport, report_of
from neurotriage.core.errors import Refused, Unavailable
from neurotriage.core.headers import MALFORMED, text
from neurotriage.core.requestor import associate
from neurotriage.core.settings import Destination
from worker.delivery.peer import Misconfigured, by_series, result_file
from worker.delivery.status import Verdict, not_understood, verdict_of
from worker.delivery.tls import Handshakes, client_context

log = structlog.get_logger()

_CONNECT_TIMEOUT_S: Final = 10.0
_ANSWER_TIMEOUT_S: Final = 60.0
# A peer that reads nothing for this long has stopped; what it was sent is tried again.
_SEND_TIMEOUT_S: Final = 30.0
# For archives that answer a storage commitment on the association on which it was asked.
_REPORT_WAIT_S: Final = 1.0
_QUERY_LIMIT_S: Final = 60.0
# Result 3 of a refused presentation context (PS3.8 table 9-18): the abstract syntax is not supported.
_ABSTRACT_SYNTAX_REFUSED: Final = 3
_SYNTAXES: Final = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_PICTURES: Final = (SecondaryCaptureImageStorage, MultiFrameTrueColorSecondaryCaptureImageStorage)
_PENDING: Final = (0xFF00, 0xFF01)
_OUT_OF_RESOURCES: Final = 0xA700
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
    association = _associate(ae, destination, reports)
    try:
        yield DimsePeer(association, destination, reports)
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


def _associate(ae: AE, destination: Destination, reports: "queue.SimpleQueue[evt.Event]") -> Association:
    def take_report(event: evt.Event) -> tuple[int, None]:
        reports.put(event)
        return _SUCCESS, None

    handlers: list[evt.EventHandlerType] = [
        (evt.EVT_N_EVENT_REPORT, take_report),
        (evt.EVT_CONN_OPEN, _limit_sending),
    ]
    where = f"{destination.ae_title} at {destination.host}:{destination.port}"
    tls = None if destination.tls is None else Handshakes(client_context(destination.tls))
    try:
        association = associate(
            ae,
            destination.host,
            destination.port,
            called=destination.ae_title,
            tls_args=None if tls is None else (tls.context, destination.host),
            evt_handlers=handlers,
        )
    except OSError as error:  # the name has no address
        raise Unavailable(f"{where} does not answer: {error.strerror}") from error
    if association.is_established or association.rejected_contexts:
        return association
    if association.is_rejected:
        raise _rejection(association, where, ae.ae_title)
    if tls is not None and tls.failure is not None:
        raise Misconfigured(f"{where} cannot be trusted, or does not trust us: {tls.failure}")
    raise Unavailable(f"{where} does not answer")


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
    ) -> None:
        self._association = association
        self._destination = destination
        self._reports = reports
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

    def store(self, path: Path, delivery: DueDelivery) -> Verdict:
        """Send one object by C-STORE (PS3.4 annex B), compressed where that was agreed on.

        What cannot be compressed, or is not understood compressed, goes as it is. No answer means another
        try.
        """
        if delivery.sop_class_uid not in self._accepted:
            return Verdict(DeliveryState.REFUSED, f"refused at negotiation: {self._why(delivery)}")
        try:
            dataset = result_file(path, delivery.size_bytes)
        except Refused as damaged:
            return Verdict(DeliveryState.REFUSED, str(damaged))
        except OSError as error:  # the storage may come back
            return Verdict(DeliveryState.WAITING, f"the result file cannot be read: {error.strerror}")
        syntaxes = self.syntaxes(delivery.sop_class_uid)
        small = _compressed(dataset) if JPEGLSLossless in syntaxes else None
        plain = any(syntax in syntaxes for syntax in _SYNTAXES)
        if small is not None:
            status = self._send(small)
            if not (plain and not_understood(status)):
                return verdict_of(status)
        if not plain:
            return Verdict(DeliveryState.REFUSED, "it cannot be compressed, and is not taken uncompressed")
        return verdict_of(self._send(dataset))

    def _send(self, dataset: Dataset) -> int | None:
        """The status; None where the association ended before this object."""
        try:
            status: int | None = self._association.send_c_store(dataset).get("Status")
        except RuntimeError:
            return None
        return status

    def _why(self, delivery: DueDelivery) -> str:
        results = {
            context.result
            for context in self._association.rejected_contexts
            if context.abstract_syntax == delivery.sop_class_uid
        }
        if _ABSTRACT_SYNTAX_REFUSED in results:
            return "SOP class not supported"
        return "uncompressed transfer syntaxes not supported"

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

    def present(self, objects: Sequence[DueDelivery]) -> frozenset[str] | None:
        """Look for objects by C-FIND at the Study Root (PS3.4 C.4.1), one query per series."""
        if _STUDY_ROOT_FIND not in self._accepted:
            return None
        found: set[str] = set()
        for study_uid, series_uid, uids in by_series(objects):
            level = self._destination.find.upper()
            answers = self._query(_identifier(level, study_uid, series_uid))
            if answers is None:
                return None
            if level == "SERIES":
                found |= uids if series_uid in answers else set()
            else:
                found |= uids & answers
        return frozenset(found)

    def _query(self, identifier: Dataset) -> set[str] | None:
        """The UIDs of what matches; None where such a query is not supported."""
        wanted = "SeriesInstanceUID" if identifier.QueryRetrieveLevel == "SERIES" else "SOPInstanceUID"
        uids: set[str] = set()
        end = time.monotonic() + _QUERY_LIMIT_S
        try:
            for answer, match in self._association.send_c_find(identifier, _STUDY_ROOT_FIND):
                status = answer.get("Status")
                if status is None or time.monotonic() > end:
                    break
                if status in _PENDING:
                    uids.add(text(match, wanted) if match is not None else "")
                elif status == _SUCCESS:
                    return uids
                elif status & 0xFF00 == _OUT_OF_RESOURCES:
                    raise Unavailable(f"the query was answered 0x{status:04X}")
                else:
                    return None
        except (RuntimeError, ValueError) as error:
            raise Unavailable("the association ended before the query") from error
        if self._association.is_established:
            self._association.abort()  # answers without end
        raise Unavailable("the query was not answered in time")


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
