"""A modality that asks for storage commitment and listens for the reports: pynetdicom, not our code."""

from collections.abc import Sequence
from queue import SimpleQueue
from types import TracebackType
from typing import Any, NamedTuple, Self

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.transport import ThreadedAssociationServer

from neurotriage.dicom import requestor
from neurotriage.dicom.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE
from neurotriage.embedded.process import free_port

SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]


class Told(NamedTuple):
    """A report as it came."""

    event_type: int
    transaction: str
    committed: list[str]
    failed: dict[str, int]


def asked(transaction: str, *references: str | tuple[str, str]) -> Dataset:
    """Action information; a reference is an instance of MR, or a class and an instance."""
    request = Dataset()
    request.TransactionUID = transaction
    items = []
    for reference in references:
        sop_class, instance = (MRImageStorage, reference) if isinstance(reference, str) else reference
        item = Dataset()
        item.ReferencedSOPClassUID = sop_class
        item.ReferencedSOPInstanceUID = instance
        items.append(item)
    request.ReferencedSOPSequence = DicomSequence(items)
    return request


def associate(port: int, title: str = "SENDER", **roles: bool) -> Association:
    """An association for storage commitment."""
    entity = AE(title)
    entity.add_requested_context(PUSH_MODEL, SYNTAXES)
    extended: Any = [build_role(PUSH_MODEL, **roles)] if roles else None
    return requestor.associate(entity, "127.0.0.1", port, called="NEUROTRIAGE", ext_neg=extended)


def act(association: Association, request: Dataset, *, kind: int = 1, instance: str = "") -> int:
    """N-ACTION; the status."""
    answer, _ = association.send_n_action(request, kind, PUSH_MODEL, instance or PUSH_MODEL_INSTANCE)
    return int(answer.get("Status", -1))


def ask(port: int, *requests: Dataset, title: str = "SENDER") -> list[int]:
    """Ask over one association; the statuses."""
    association = associate(port, title)
    assert association.is_established
    statuses = [act(association, request) for request in requests]
    association.release()
    return statuses


class Asker:
    """Takes reports at ``port`` while it is entered; its AE title is SENDER."""

    def __init__(self) -> None:
        self.port = free_port()
        self.reports: SimpleQueue[Told] = SimpleQueue()
        self.status = 0x0000
        self.callers: list[tuple[str, bool]] = []  # calling AE title, whether it came as SCP
        self._ae = AE("SENDER")
        self._ae.add_supported_context(PUSH_MODEL, SYNTAXES, scu_role=True, scp_role=True)
        self._server: ThreadedAssociationServer | None = None

    @property
    def peer(self) -> dict[str, object]:
        """The ``[[peer]]``."""
        return {"ae_title": "SENDER", "host": "127.0.0.1", "port": self.port}

    def __enter__(self) -> Self:
        handlers: list[evt.EventHandlerType] = [(evt.EVT_N_EVENT_REPORT, self._take)]
        self._server = self._ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ae.shutdown()

    def _take(self, event: evt.Event) -> tuple[int, None]:
        told = event.event_information
        calling = str(event.assoc.requestor.ae_title)
        self.callers.append((calling, bool(event.assoc.accepted_contexts[0].as_scu)))
        committed: Sequence[Dataset] = told.get("ReferencedSOPSequence") or []
        failed: Sequence[Dataset] = told.get("FailedSOPSequence") or []
        self.reports.put(
            Told(
                int(event.event_type or 0),
                str(told.TransactionUID),
                [str(item.ReferencedSOPInstanceUID) for item in committed],
                {str(item.ReferencedSOPInstanceUID): int(item.FailureReason) for item in failed},
            )
        )
        return self.status, None
