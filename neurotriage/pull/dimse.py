"""Query/Retrieve as SCU (PS3.4 annex C, Study Root): C-FIND, then C-MOVE to our listener or C-GET."""

import re
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final, cast
from uuid import uuid4

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, StoragePresentationContexts, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import PresentationContext

from dicom_listener.association.contexts import transfer_syntaxes
from dicom_listener.spool import AssociationInfo, Spool, note_end
from neurotriage.core.errors import Unavailable
from neurotriage.dicom.peer_text import peer_text
from neurotriage.dicom.requestor import AssociationTrace, associate
from neurotriage.pull.lines import Key
from neurotriage.pull.source import Fetched, FoundStudy, SourceUnusable, StudyFailed, as_count

FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
MOVE: Final = "1.2.840.10008.5.1.4.1.2.2.2"
GET: Final = "1.2.840.10008.5.1.4.1.2.2.3"
_UNCOMPRESSED: Final[list[str | UID]] = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]

_CONNECT_TIMEOUT_S: Final = 10.0
_FIND_TIMEOUT_S: Final = 60.0
_MAX_MATCHES: Final = 50
_MAX_CONTEXTS: Final = 128  # PS3.8 9.3.2.2: odd ids of one byte
_UID: Final = re.compile(r"[0-9.]{1,64}", re.ASCII)
# CT, MR and their enhanced forms: a context for each transfer syntax, so that what an archive keeps
# compressed need not be converted.
_IMAGES: Final = tuple(f"1.2.840.10008.5.1.4.1.1.{number}" for number in ("2", "2.1", "4", "4.1"))

_SUCCESS, _OUT_OF_RESOURCES, _CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xC000
_PENDING: Final = (0xFF00, 0xFF01)
_UNKNOWN_DESTINATION: Final = 0xA801
_TEMPORARY: Final = (0xA700, 0xA701)
_PARTIAL: Final = 0xB000


@dataclass(frozen=True, slots=True)
class Archive:
    """Where an archive is, and under which AE titles we speak to it."""

    ae_title: str
    host: str
    port: int
    our_ae_title: str
    tls: ssl.SSLContext | None = None

    @property
    def name(self) -> str:
        return f"{self.ae_title} at {self.host}:{self.port}"


@contextmanager
def _associated(
    archive: Archive, contexts: Sequence[PresentationContext], timeout_s: float, **options: Any
) -> Iterator[Association]:
    """An association with these contexts. Raises ``Unavailable`` or ``SourceUnusable``."""
    ae = AE(archive.our_ae_title)
    ae.connection_timeout = ae.acse_timeout = _CONNECT_TIMEOUT_S
    ae.dimse_timeout = ae.network_timeout = timeout_s
    ae.requested_contexts = list(contexts)
    trace = AssociationTrace()
    tls = None if archive.tls is None else (archive.tls, archive.host)
    try:
        association = associate(
            ae, archive.host, archive.port, called=archive.ae_title, tls_args=tls, trace=trace, **options
        )
    except OSError as error:  # the host name does not resolve
        raise Unavailable(f"{archive.name} does not answer: {error.strerror}") from error
    if association.is_rejected:
        answer = association.acceptor.primitive
        if answer is not None and (answer.result, answer.result_source) == (1, 1):
            text = f"it must know our AE title {archive.our_ae_title}"
            raise SourceUnusable(f"{archive.name} rejected the association: {text}")
        raise Unavailable(f"{archive.name} rejected the association for now")
    if not association.is_established:
        if association.rejected_contexts:
            raise SourceUnusable(f"{archive.name} accepts no query and no retrieval of ours")
        raise Unavailable(f"{archive.name} {trace.connect_failure(ae)}")
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


class DimseSource:
    """An archive that is queried by C-FIND; ``get``: objects come by C-GET into ``spool``.

    Else it is asked to move them to our listener, which it has to know by AE title, host and port.
    """

    def __init__(self, archive: Archive, spool: Spool, *, get: bool, study_timeout_s: float) -> None:
        self._archive, self._spool = archive, spool
        self._get, self._study_timeout_s = get, study_timeout_s

    def find(self, key: Key, value: str) -> list[FoundStudy]:
        """The studies with exactly this value; others that the archive may add are left out."""
        query = Dataset()
        if not value.isascii():
            query.SpecificCharacterSet = "ISO_IR 192"
        query.QueryRetrieveLevel = "STUDY"
        query.AccessionNumber = query.StudyInstanceUID = query.NumberOfStudyRelatedInstances = None
        setattr(query, key, value)
        found: dict[str, FoundStudy] = {}
        with _associated(self._archive, [build_context(FIND, _UNCOMPRESSED)], _FIND_TIMEOUT_S) as association:
            for status, match in _asked(association.send_c_find(query, FIND)):
                if status not in _PENDING:
                    _require_success(self._archive, status, "the query")
                elif match is not None and str(match.get(key, "")).strip() == value:
                    uid = str(match.get("StudyInstanceUID", ""))
                    if _UID.fullmatch(uid):
                        found[uid] = FoundStudy(uid, as_count(match.get("NumberOfStudyRelatedInstances", "")))
                if len(found) > _MAX_MATCHES:
                    association.abort()
                    break
        return list(found.values())

    def fetch(self, study: FoundStudy) -> Fetched:
        """Have a study sent here, whole or in part."""
        wanted = Dataset()
        wanted.QueryRetrieveLevel = "STUDY"
        wanted.StudyInstanceUID = study.study_instance_uid
        return self._by_get(wanted) if self._get else self._by_move(wanted)

    def _by_move(self, wanted: Dataset) -> Fetched:
        contexts = [build_context(MOVE, _UNCOMPRESSED)]
        with _associated(self._archive, contexts, self._study_timeout_s) as association:
            answers = association.send_c_move(wanted, self._archive.our_ae_title, MOVE)
            counts = self._followed(association, answers)
        if counts.completed is None:
            raise StudyFailed(f"{self._archive.name} does not say how many images it sent")
        return Fetched(counts.completed, counts.detail)

    def _by_get(self, wanted: Dataset) -> Fetched:
        receiver = _Receiver(self._spool, self._archive)
        storage = storage_contexts()
        roles: Any = [build_role(uid, scp_role=True) for uid in {c.abstract_syntax for c in storage} if uid]
        with _associated(
            self._archive,
            [build_context(GET, _UNCOMPRESSED), *storage],
            self._study_timeout_s,
            evt_handlers=[(evt.EVT_C_STORE, receiver.store)],
            ext_neg=roles,
        ) as association:
            counts = self._followed(association, association.send_c_get(wanted, GET))
        if receiver.storage_error:
            raise Unavailable(f"the storage takes no more: {receiver.storage_error}")
        if counts.all_sent and not receiver.refused:
            receiver.note_end()
        return Fetched(len(receiver.stored), counts.detail)

    def _followed(self, association: Association, answers: Any) -> "_Counts":
        """The counts of the last answer of a C-MOVE or C-GET. Raises as ``fetch``."""
        deadline = time.monotonic() + self._study_timeout_s
        counts = _Counts()
        for status, answer in _asked(answers, with_answer=True):
            counts = counts.updated(status, answer or Dataset())
            if status in _PENDING:
                if time.monotonic() > deadline:
                    association.abort()
                    raise StudyFailed(f"it took longer than {self._study_timeout_s:g} s")
            elif status == _UNKNOWN_DESTINATION:
                ours = self._archive.our_ae_title
                raise SourceUnusable(
                    f"{self._archive.name} does not know {ours}: enter our host and port there"
                )
            elif status != _PARTIAL and not counts.completed:
                _require_success(self._archive, status, "the retrieval")
        return counts


@dataclass(frozen=True, slots=True)
class _Counts:
    """Sub-operations of a retrieval (PS3.7 9.1.3.1) and the last status; None: never told."""

    completed: int | None = None
    failed: int = 0
    status: int | None = None

    def updated(self, status: int, answer: Dataset) -> "_Counts":
        completed = answer.get("NumberOfCompletedSuboperations")
        warned = answer.get("NumberOfWarningSuboperations") or 0  # stored, with a remark
        failed = answer.get("NumberOfFailedSuboperations")
        return _Counts(
            self.completed if completed is None else int(completed) + int(warned),
            self.failed if failed is None else int(failed),
            status,
        )

    @property
    def all_sent(self) -> bool:
        """Whether the archive says that nothing is missing."""
        return self.status == _SUCCESS and not self.failed

    @property
    def detail(self) -> str:
        return f"the archive could not send {self.failed}" if self.failed else ""


class _Receiver:
    """Takes the objects of a C-GET into the spool; an object is in memory while it comes."""

    def __init__(self, spool: Spool, archive: Archive) -> None:
        self._spool, self._archive = spool, archive
        self._association_id = uuid4().hex
        self._association: AssociationInfo | None = None  # once an object has come
        self.stored: set[str] = set()
        self.refused = False
        self.storage_error = ""

    def note_end(self) -> None:
        """Note that every object has come."""
        if self._association is not None:
            note_end(self._spool, self._association, released=True)

    def store(self, event: evt.Event) -> int:
        """Answer a C-STORE-RQ; 0x0000 means durable."""
        request = cast(C_STORE, event.request)
        sop_class_uid, sop_instance_uid = (
            str(uid).rstrip("\0 ") for uid in (request.AffectedSOPClassUID, request.AffectedSOPInstanceUID)
        )
        data_set = cast(BytesIO, request.DataSet).getbuffer()
        if not (_UID.fullmatch(sop_class_uid) and _UID.fullmatch(sop_instance_uid)) or not data_set.nbytes:
            self.refused = True
            return _CANNOT_UNDERSTAND
        archive = self._archive
        self._association = AssociationInfo(
            archive.ae_title, archive.our_ae_title, event.assoc.remote["address"], self._association_id
        )
        try:
            self._spool.receive(
                self._association,
                sop_class_uid=sop_class_uid,
                sop_instance_uid=sop_instance_uid,
                transfer_syntax_uid=str(event.context.transfer_syntax),
                data_set=data_set,
            )
        except OSError as error:
            self.storage_error = error.strerror or type(error).__name__
            return _OUT_OF_RESOURCES
        self.stored.add(sop_instance_uid)
        return _SUCCESS


def storage_contexts() -> list[PresentationContext]:
    """Of what a study consists of; as many as an association holds beside the retrieval itself."""
    syntaxes = transfer_syntaxes()
    contexts = [build_context(uid, syntax) for uid in _IMAGES for syntax in syntaxes]
    others = [
        build_context(cast(UID, context.abstract_syntax), syntaxes)
        for context in StoragePresentationContexts
        if context.abstract_syntax not in _IMAGES
    ]
    return [*contexts, *sorted(others, key=_rank)][: _MAX_CONTEXTS - 1]


def _rank(context: PresentationContext) -> int:
    """What head studies hold comes first: captures, documents, presentation states, segmentations, PET."""
    uid = str(context.abstract_syntax).removeprefix("1.2.840.10008.5.1.4.1.1.")
    return int(uid.split(".")[0] not in ("7", "11", "66", "88", "104", "128", "30", "20", "1"))


def _asked(answers: Any, *, with_answer: bool = False) -> Iterator[tuple[int, Dataset | None]]:
    """Each status with its identifier or its status data set. Raises ``Unavailable`` without an answer."""
    for status, identifier in answers:
        if "Status" not in status:
            raise Unavailable("the archive did not answer in time, or the connection was lost")
        yield int(status.Status), status if with_answer else identifier


def _require_success(archive: Archive, status: int, what: str) -> None:
    if status == _SUCCESS:
        return
    text = f"{archive.name} answered {what} with 0x{status:04X}"
    raise Unavailable(text) if status in _TEMPORARY else StudyFailed(peer_text(text, 200))
