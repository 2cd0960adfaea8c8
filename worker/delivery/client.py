"""The interface to a destination, whether it speaks DIMSE or DICOMweb."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Protocol

from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError

from db.delivery.deliveries import DueDelivery
from neurotriage.core.errors import Refused, Unavailable
from neurotriage.core.settings import Destination
from neurotriage.core.values import ReasonCode
from neurotriage.dicom.commitment import CommitmentReport
from neurotriage.dicom.headers import MALFORMED, first_line
from worker.delivery.status import StoreResult


class Misconfigured(Unavailable):
    """A person has to change the configuration here or at the destination: retried, with an alarm at once."""


class Unanswered(Unavailable):
    """A query timed out: some archives accept the query SOP class and never answer."""


class NotServed(Exception):
    """The destination offers no query, or its answer does not match the query."""


class ArchiveClient(Protocol):
    """An open connection to a destination. Every wait has a limit."""

    @property
    def ae_title(self) -> str:
        """AE title of the destination; empty for DICOMweb."""

    @property
    def ended(self) -> bool:
        """True once this connection is of no more use; a new one may be opened."""

    def store(self, path: Path, delivery: DueDelivery) -> StoreResult:
        """Send the result file at ``path``. Raises ``Unavailable`` where no answer comes."""

    @property
    def commits(self) -> bool:
        """True where storage commitment can be requested."""

    def commit(self, transaction_uid: str, objects: Sequence[DueDelivery]) -> CommitmentReport | None:
        """Request storage commitment (PS3.4 J.3.2); the report where it came at once, else None.

        Raises ``Unavailable`` where the request is refused or not answered.
        """

    def present(self, objects: Sequence[DueDelivery]) -> frozenset[str]:
        """Query for objects; the SOP Instance UIDs of those that the destination has.

        Raises ``NotServed`` where no query can be made, ``Unanswered`` after a timeout, and ``Unavailable``
        where a later query may succeed.
        """


class Connect(Protocol):
    """Opens a connection to send objects of the given SOP classes. Raises ``Unavailable``."""

    def __call__(
        self, destination: Destination, calling_ae_title: str, sop_classes: Iterable[str]
    ) -> AbstractContextManager[ArchiveClient]: ...


def result_file(path: Path, size_bytes: int) -> FileDataset:
    """Read a result file of ours, which must have ``size_bytes``.

    Raises ``Refused`` where it is damaged, so that it does not hold up the objects queued behind it;
    ``OSError`` where it cannot be read.
    """
    actual_bytes = path.stat().st_size
    if actual_bytes != size_bytes:
        raise Refused(
            ReasonCode.INTERNAL_ERROR,
            f"the result file is damaged: {actual_bytes} bytes, {size_bytes} were written",
        )
    try:
        return dcmread(path)
    except (InvalidDicomError, *MALFORMED) as error:
        raise Refused(
            ReasonCode.INTERNAL_ERROR, f"the result file is damaged: {first_line(error)}"
        ) from error


_COMMENT_LIMIT: Final = 128


def comment(words: object) -> str:
    """The ErrorComment (0000,0902) of a destination as one line of at most 128 printable characters.

    PS3.7 annex C allows 64; some send more.
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in str(words or "")[:1000]).split())
    return line[:_COMMENT_LIMIT]


def matched(
    level: str, series_instance_uid: str, uids: frozenset[str], answers: Sequence[tuple[str, str]]
) -> frozenset[str]:
    """Those of the SOP Instance UIDs ``uids`` that the answers to a query for their series contain.

    ``level``: "image" or "series". ``answers``: Series and SOP Instance UID of each match. Raises
    ``NotServed`` where only other series are answered: such an archive ignores the query's keys.
    """
    if level == "series":
        present = uids if any(series == series_instance_uid for series, _ in answers) else frozenset()
    else:
        present = uids & {uid for _, uid in answers}
    if not present and any(series not in ("", series_instance_uid) for series, _ in answers):
        raise NotServed("the query was answered with objects that were not asked for")
    return present


def by_series(objects: Iterable[DueDelivery]) -> Iterator[tuple[str, str, frozenset[str]]]:
    """Study Instance UID, Series Instance UID and SOP Instance UIDs of each series among the objects."""
    series: dict[tuple[str, str], set[str]] = {}
    for item in objects:
        key = item.study_instance_uid, item.series_instance_uid
        series.setdefault(key, set()).add(item.sop_instance_uid)
    for (study_uid, series_instance_uid), uids in series.items():
        yield study_uid, series_instance_uid, frozenset(uids)
