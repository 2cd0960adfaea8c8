"""An archive that proves what it keeps, or does not: C-STORE, storage commitment and C-FIND as SCP."""

import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

from neurotriage.dicom.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
REPORT = "1.2.840.10008.5.1.4.1.1.88.34"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
_SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]

Event = tuple[int, Dataset]


class Archive:
    """``keeps``: whether what is answered with success is kept. ``on_request`` answers a commitment request.

    ``commits`` and ``finds`` say what is offered at negotiation.
    """

    def __init__(self, *, keeps: bool = True, commits: bool = False, finds: bool = True) -> None:
        self.keeps = keeps
        self.kept: dict[str, Dataset] = {}
        self.stores: list[str] = []
        self.requests: list[Dataset] = []
        self.queries: list[Dataset] = []
        self.query_status = 0x0000
        self.on_store: Callable[[evt.Event], int | Dataset] = lambda _: 0x0000
        # What is answered to a query instead of what is kept.
        self.on_query: Callable[[Dataset], Iterator[tuple[int, Dataset | None]]] | None = None
        self.associations = 0
        self.on_request: Callable[[Archive, evt.Event], int] = lambda _archive, _event: 0x0000
        self.port = 0
        self._ae = AE("PACS")
        for sop_class in (SECONDARY_CAPTURE, REPORT):
            self._ae.add_supported_context(sop_class, _SYNTAXES)
        if commits:
            self._ae.add_supported_context(PUSH_MODEL, _SYNTAXES)
        if finds:
            self._ae.add_supported_context(STUDY_ROOT_FIND, _SYNTAXES)

    def __enter__(self) -> Self:
        handlers: list[evt.EventHandlerType] = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_FIND, self._find),
            (evt.EVT_N_ACTION, self._act),
            (evt.EVT_REQUESTED, self._count),
        ]
        server = self._ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        assert server is not None
        self.port = int(server.server_address[1])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ae.shutdown()

    def running(self) -> list[Association]:
        """The associations of this moment."""
        return [
            thread
            for thread in threading.enumerate()
            if isinstance(thread, Association) and thread.ae is self._ae
        ]

    def _count(self, _: evt.Event) -> None:
        self.associations += 1

    def _store(self, event: evt.Event) -> int | Dataset:
        assert isinstance(event.request, C_STORE)
        uid = str(event.request.AffectedSOPInstanceUID)
        self.stores.append(uid)
        if self.keeps:
            self.kept[uid] = event.dataset
        return self.on_store(event)

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        identifier = event.identifier
        self.queries.append(identifier)
        if self.on_query is not None:
            yield from self.on_query(identifier)
            return
        if self.query_status != 0x0000:
            yield self.query_status, None
            return
        for kept in self.kept.values():
            if kept.SeriesInstanceUID == identifier.SeriesInstanceUID:
                match = Dataset()
                match.QueryRetrieveLevel = identifier.QueryRetrieveLevel
                match.StudyInstanceUID = kept.StudyInstanceUID
                match.SeriesInstanceUID = kept.SeriesInstanceUID
                if identifier.QueryRetrieveLevel == "IMAGE":
                    match.SOPInstanceUID = kept.SOPInstanceUID
                yield 0xFF00, match

    def _act(self, event: evt.Event) -> tuple[int, None]:
        self.requests.append(event.action_information)
        return self.on_request(self, event), None

    def report(self, request: Dataset) -> Event:
        """What is kept is committed; of the rest it is said that it is not there."""
        items = list(request.ReferencedSOPSequence)
        there = [item for item in items if item.ReferencedSOPInstanceUID in self.kept]
        gone = [item for item in items if item not in there]
        for item in gone:
            item.FailureReason = 0x0112
        told = Dataset()
        told.TransactionUID = request.TransactionUID
        if there:
            told.ReferencedSOPSequence = DicomSequence(there)
        if gone:
            told.FailedSOPSequence = DicomSequence(gone)
        return (2 if gone else 1), told


def on_the_same_association(archive: Archive, event: evt.Event) -> int:
    """Report as soon as the request has been answered."""
    kind, told = archive.report(event.action_information)

    def report() -> None:
        event.assoc.send_n_event_report(told, kind, PUSH_MODEL, PUSH_MODEL_INSTANCE)

    threading.Timer(0.1, report).start()
    return 0x0000


def refuses(_archive: Archive, _event: evt.Event) -> int:
    return 0x0213


def report_to(port: int, event: Event, *, title: str = "PACS", roles: bool = True) -> Sequence[Any]:
    """Report on an association of the archive's own, as SCP."""
    kind, told = event
    ae = AE(title)
    ae.add_requested_context(PUSH_MODEL, _SYNTAXES)
    extended: Any = [build_role(PUSH_MODEL, scp_role=True)] if roles else None
    association = ae.associate("127.0.0.1", port, ae_title="NEUROTRIAGE", ext_neg=extended)
    assert association.is_established
    try:
        status, _ = association.send_n_event_report(told, kind, PUSH_MODEL, PUSH_MODEL_INSTANCE)
        return [status.get("Status"), association.accepted_contexts[0].as_scp]
    finally:
        association.release()
