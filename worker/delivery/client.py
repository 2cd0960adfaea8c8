"""What can be asked of a destination, whatever it speaks."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Protocol

from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError

from db.deliveries import DueDelivery
from neurotriage.core.errors import Refused, Unavailable
from neurotriage.core.settings import Destination
from neurotriage.core.values import ReasonCode
from neurotriage.dicom.commitment import CommitmentReport
from neurotriage.dicom.headers import MALFORMED, first_line
from worker.delivery.status import StoreResult


class Misconfigured(Unavailable):
    """A person has to change something, here or there; worth another try, and an alarm at once."""


class Unanswered(Unavailable):
    """A query got no answer in time: some archives accept queries and serve none."""


class NotServed(Exception):
    """No query can be made: none is offered, or the answer is none to what was asked."""


class ArchiveClient(Protocol):
    """A destination that answers. Every wait has a limit."""

    @property
    def ae_title(self) -> str:
        """Its AE title; empty where it has none."""

    @property
    def ended(self) -> bool:
        """True where nothing more can be asked on this connection; a new one may do."""

    def store(self, path: Path, delivery: DueDelivery) -> StoreResult:
        """Send one object. Any answer becomes a verdict. Raises ``Unavailable`` where nobody answers."""

    @property
    def commits(self) -> bool:
        """True where storage commitment can be asked for."""

    def commit(self, transaction_uid: str, objects: Sequence[DueDelivery]) -> CommitmentReport | None:
        """Ask for storage commitment; the answer where it came at once. Raises ``Unavailable`` if refused."""

    def present(self, objects: Sequence[DueDelivery]) -> frozenset[str]:
        """The SOP Instance UIDs of the objects that a query finds, or an empty set.

        Raises ``NotServed``, ``Unanswered``, and ``Unavailable`` where another try may do.
        """


class Connect(Protocol):
    """Opens a connection to send objects of some SOP classes of one study. Raises ``Unavailable``."""

    def __call__(
        self, destination: Destination, calling_ae_title: str, sop_classes: Iterable[str]
    ) -> AbstractContextManager[ArchiveClient]: ...


def result_file(path: Path, size_bytes: int) -> FileDataset:
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


_COMMENT_LIMIT: Final = 128


def comment(words: object) -> str:
    """What a destination says in its own words, in one bounded line (ErrorComment has 64 characters)."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(words or "")[:1000]).split())
    return line[:_COMMENT_LIMIT]


def matched(
    level: str, series_uid: str, uids: frozenset[str], answers: Sequence[tuple[str, str]]
) -> frozenset[str]:
    """Those of ``uids`` that a query for their series finds; answers are series and SOP Instance UIDs.

    ``level``: image or series. Raises ``NotServed`` where nothing is found and the answers are about other
    series: such an archive does not look at what it is asked.
    """
    if level == "series":
        there = uids if any(series == series_uid for series, _ in answers) else frozenset()
    else:
        there = uids & {uid for _, uid in answers}
    if not there and any(series not in ("", series_uid) for series, _ in answers):
        raise NotServed("the query was answered with objects that were not asked for")
    return there


def by_series(objects: Iterable[DueDelivery]) -> Iterator[tuple[str, str, frozenset[str]]]:
    """Study, series and SOP Instance UIDs, series by series."""
    series: dict[tuple[str, str], set[str]] = {}
    for item in objects:
        key = item.study_instance_uid, item.series_instance_uid
        series.setdefault(key, set()).add(item.sop_instance_uid)
    for (study_uid, series_uid), uids in series.items():
        yield study_uid, series_uid, frozenset(uids)
