"""What the doctor's tests share: settings, checks by subject, and a PACS that does as it is told."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE

from neurotriage.core.settings import Settings
from neurotriage.doctor.check import Check

VERIFICATION = "1.2.840.10008.1.1"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
REPORT = "1.2.840.10008.5.1.4.1.1.88.34"


def by_subject(checks: Iterator[Check]) -> dict[str, Check]:
    return {check.subject: check for check in checks}


def settings(**sections: Any) -> Settings:
    return Settings.model_validate(sections)


class Archive:
    """A PACS that answers queries, and does as it is told."""

    def __init__(
        self,
        classes: Sequence[str] = (SECONDARY_CAPTURE, REPORT),
        *,
        keeps: bool = True,
        strict: bool = False,
    ) -> None:
        self._keeps = keeps
        self.stored: dict[str, Dataset] = {}
        # What is answered to a query instead of what is stored.
        self.on_query: Callable[[Dataset], Iterator[tuple[int, Dataset | None]]] | None = None
        self._ae = AE("PACS")
        self._ae.require_calling_aet = ["SOMEBODYELSE"] if strict else []
        for uid in (VERIFICATION, STUDY_ROOT_FIND, *classes):
            self._ae.add_supported_context(uid, [ExplicitVRLittleEndian])

    def __enter__(self) -> "Archive":
        handlers: list[evt.EventHandlerType] = [(evt.EVT_C_STORE, self._store), (evt.EVT_C_FIND, self._find)]
        server = self._ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        assert server is not None
        self.port = int(server.server_address[1])
        return self

    def __exit__(self, *_: object) -> None:
        self._ae.shutdown()

    def _store(self, event: evt.Event) -> int:
        assert isinstance(event.request, C_STORE)
        if self._keeps:
            self.stored[str(event.request.AffectedSOPInstanceUID)] = event.dataset
        return 0x0000

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        if self.on_query is not None:
            yield from self.on_query(event.identifier)
            return
        for dataset in self.stored.values():
            if dataset.SeriesInstanceUID == event.identifier.SeriesInstanceUID:
                answer = Dataset()
                answer.QueryRetrieveLevel = "IMAGE"
                answer.SOPInstanceUID = dataset.SOPInstanceUID
                yield 0xFF00, answer
        yield 0x0000, None
