"""Moves spooled files into the store and records them. Killed at any moment, it loses and repeats nothing.

A file is linked into the store under its digest, then its row is committed, then its name in the spool is
removed. An interrupted file is started again; each step is idempotent.
"""

import math
import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import Engine

from db.engine import outage_as_unavailable
from db.studies.instances import record_instances
from dicom_listener.backlog import Backlog
from dicom_listener.ingest.fair_queue import FairQueue
from dicom_listener.ingest.header_reader import FileKind, ReadRequest
from dicom_listener.ingest.header_readers import HeaderReaders, ReadResult
from dicom_listener.ingest.quarantine import Quarantine, QuarantinedKind
from dicom_listener.ingest.reports import record_report
from dicom_listener.ingest.store import link_into_store
from dicom_listener.spool import ReceivedInstance, Spooled, read_received, reception_by_file, written_at
from neurotriage.core.errors import Unavailable
from neurotriage.core.reception import Reception, Sender
from neurotriage.core.settings import DeliverySettings
from neurotriage.core.storage import Storage
from neurotriage.core.values import Reason, ReasonCode
from neurotriage.dicom.commitment import CommitmentReport
from neurotriage.dicom.headers import InstanceHeader
from neurotriage.dicom.priority import NO_RULES, PriorityRules
from neurotriage.dicom.uids import DOCTOR_INSTALLATION_UID, RUN_INSTALLATION_UID

log = structlog.get_logger()

# Instances per transaction: a group costs as many statements as one instance.
GROUP: Final = 64
# A header waits no longer than this for others to share its transaction: what it costs grows little with it.
_GROUP_WAIT_S: Final = 0.25
# Spooled files held in memory at once; the backlog counts the rest by the name of the oldest.
_MAX_KNOWN: Final = 20_000
# Listing the spool takes at most this part of the time.
_LISTING_SHARE: Final = 0.1
# Before the first listing, whatever lies in the spool is not recorded.
_NEVER: Final = datetime.fromtimestamp(0, UTC)
# Headers read ahead while Postgres does not answer.
_MAX_READ: Final = 2 * GROUP


@dataclass(frozen=True, slots=True)
class Ingested:
    """Counts of the files that a step recorded or set aside."""

    recorded: int = 0  # new instances
    repeated: int = 0  # their SOP Instance UID had been received before
    reports: int = 0  # of storage commitment
    quarantined: int = 0

    def __add__(self, other: "Ingested") -> "Ingested":
        return Ingested(
            self.recorded + other.recorded,
            self.repeated + other.repeated,
            self.reports + other.reports,
            self.quarantined + other.quarantined,
        )


@dataclass(slots=True, eq=False)
class _Waiting:
    """A spooled file that is not recorded yet."""

    request: ReadRequest
    reception: Reception
    read: ReadResult | None = None
    read_at: float = 0.0  # monotonic

    @property
    def path(self) -> Path:
        return self.request.path


class Ingest:
    """Records the files of the spool, fairly among peers. Not thread-safe.

    ``installations``: UIDs of other installations, whose results count as ours; ``priorities``: the evidence
    that makes a study urgent or puts it into the backlog.
    """

    def __init__(
        self,
        engine: Engine,
        storage: Storage,
        spool: Spooled,
        readers: HeaderReaders,
        quarantine: Quarantine,
        *,
        limits: DeliverySettings,
        installations: Collection[str] = (),
        priorities: PriorityRules = NO_RULES,
    ) -> None:
        self._engine, self._storage, self._spool = engine, storage, spool
        self._readers, self._quarantine, self._limits = readers, quarantine, limits
        self._installations = {*installations, RUN_INSTALLATION_UID, DOCTOR_INSTALLATION_UID}
        self._priorities = priorities
        self._waiting: dict[str, _Waiting] = {}  # by name
        self._read: list[_Waiting] = []
        self._queue = FairQueue()
        self._skipped: set[str] = set()
        self._listed_until = _NEVER
        self._list_at = 0.0

    @property
    def idle(self) -> bool:
        """Whether no file waits, as of the last listing of the spool."""
        return not self._waiting

    def step(self, wait_s: float) -> Ingested:
        """List the spool, have files read, and record those read in groups; waits up to ``wait_s`` for more.

        Raises ``Unavailable`` while Postgres or the disk fails; the files stay in the spool.
        """
        return self._step(wait_s, at_once=False)

    def drain(self) -> Ingested:
        """Step until no file waits, at once. Raises as ``step`` does."""
        self._list_at = 0.0
        done = self._step(0.0, at_once=True)
        while not self.idle:
            done += self._step(_GROUP_WAIT_S, at_once=True)
        return done

    def _step(self, wait_s: float, *, at_once: bool) -> Ingested:
        try:
            self._list_spool()
            self._assign_readers()
            answers = self._readers.answers(wait_s) if self._readers.busy else []
        except OSError as error:
            raise Unavailable(str(error)) from error
        for request, read in answers:
            waiting = self._waiting.get(request.path.name)
            if waiting is not None and waiting.read is None:
                waiting.read, waiting.read_at = _usable(read), time.monotonic()
                self._read.append(waiting)
        due = self._due(at_once=at_once)
        if self._read and not due and len(self._read) == len(self._waiting):
            time.sleep(min(wait_s, _GROUP_WAIT_S))  # for others to come
        return self._record(due)

    def backlog(self) -> Backlog:
        """The files that are received and not recorded."""
        oldest: dict[Sender, datetime] = {}
        for waiting in self._waiting.values():
            peer, arrived_at = waiting.reception.peer, waiting.reception.received_at
            oldest[peer] = min(oldest.get(peer, arrived_at), arrived_at)
        return Backlog(self._listed_until, oldest)

    def _list_spool(self) -> None:
        """Add new files, unless the spool was listed a moment ago."""
        begun, listed_at = time.monotonic(), datetime.now(UTC)
        if begun < self._list_at:
            return
        known = self._waiting.keys() | self._skipped
        new: list[tuple[FileKind, Path]] = [("header", path) for path in self._spool.waiting(known)]
        new += [("report", path) for path in self._spool.reports(known)]
        room = _MAX_KNOWN - len(self._waiting)
        for kind, path in new[:room]:
            self._add(kind, path)
        if len(new) <= room:
            self._listed_until = listed_at
        else:
            self._listed_until = min(listed_at, written_at(new[room][1]))
        self._list_at = begun + (time.monotonic() - begun) / _LISTING_SHARE

    def _add(self, kind: FileKind, path: Path) -> None:
        try:
            reception = read_received(path).reception
            waiting = _Waiting(ReadRequest(kind, path, reception.digest), reception)
        except FileNotFoundError:
            return
        except OSError as error:  # a folder, or without permission
            reason = Reason(ReasonCode.NOT_RECORDED, f"the file cannot be opened: {error.strerror}")
            waiting = _Waiting(ReadRequest(kind, path), reception_by_file(path), reason)
            self._read.append(waiting)
        else:
            self._queue.add(waiting.reception.peer, path)
        self._waiting[path.name] = waiting

    def _assign_readers(self) -> None:
        while self._readers.free and len(self._read) < _MAX_READ:
            reading = Counter(waiting.reception.peer for waiting in self._at(self._readers.reading))
            slow = Counter(waiting.reception.peer for waiting in self._at(self._readers.slow))
            path = self._queue.take(reading, slow, self._readers.limit)
            if path is None:
                return
            self._readers.ask(self._waiting[path.name].request)

    def _at(self, requests: Iterable[ReadRequest]) -> list[_Waiting]:
        found = (self._waiting.get(request.path.name) for request in requests)
        return [waiting for waiting in found if waiting is not None]

    def _due(self, *, at_once: bool) -> list[_Waiting]:
        """The files to record now, in order of arrival."""
        reading = self._readers.reading
        # Of two instances with one UID the first to arrive counts, whichever was read first.
        reading_uids = {waiting.reception.affected_sop_instance_uid for waiting in self._at(reading)} - {""}
        ready = [
            waiting
            for waiting in self._read
            if waiting.reception.affected_sop_instance_uid not in reading_uids
        ]
        waited_s = time.monotonic() - min((waiting.read_at for waiting in ready), default=math.inf)
        if len(ready) >= GROUP or waited_s >= _GROUP_WAIT_S or (at_once and not reading):
            return sorted(ready, key=lambda waiting: waiting.path.name)[:GROUP]
        return []

    def _record(self, due: Sequence[_Waiting]) -> Ingested:
        done = self._record_instances([item for item in due if isinstance(item.read, InstanceHeader)])
        for waiting in due:
            if isinstance(waiting.read, CommitmentReport):
                done += self._record_report(waiting, waiting.read)
            elif isinstance(waiting.read, Reason):
                done += self._set_aside(waiting, waiting.read)
        return done

    def _record_instances(self, group: Sequence[_Waiting]) -> Ingested:
        """Record all in one transaction; where that fails, each in its own, so that none affects another."""
        headers = [(item.read, item) for item in group if isinstance(item.read, InstanceHeader)]
        if not headers:
            return Ingested()
        try:
            files = [(ReceivedInstance(item.path, item.reception), header.digest) for header, item in headers]
            link_into_store(files, self._storage)
            with outage_as_unavailable(), self._engine.begin() as connection:
                new = record_instances(
                    connection,
                    [(header, item.reception) for header, item in headers],
                    now=datetime.now(UTC),
                    installations=self._installations,
                    priorities=self._priorities,
                )
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - an error of ours must affect no other file
            if len(group) > 1:
                return sum((self._record_instances([item]) for item in group), Ingested())
            return self._failed(group[0], error)
        for item in group:
            self._finish(item)
        return Ingested(recorded=new.count(True), repeated=new.count(False))

    def _record_report(self, waiting: _Waiting, report: CommitmentReport) -> Ingested:
        try:
            record_report(self._engine, report, self._limits, ae_title=waiting.reception.peer_ae_title)
        except Exception as error:  # noqa: BLE001 - as above
            return self._failed(waiting, error)
        self._finish(waiting)
        return Ingested(reports=1)

    def _failed(self, waiting: _Waiting, error: Exception) -> Ingested:
        reason = self._quarantine.reason_for(waiting.path.name, error)
        return Ingested() if reason is None else self._set_aside(waiting, reason)

    def _set_aside(self, waiting: _Waiting, reason: Reason) -> Ingested:
        kind: QuarantinedKind = "instance" if waiting.request.kind == "header" else "report"
        try:
            self._quarantine.set_aside(kind, waiting.path, reason, waiting.reception)
        except Unavailable:
            raise
        except Exception:
            log.exception("file_skipped_until_restart", name=waiting.path.name)
            self._skipped.add(waiting.path.name)
            self._forget(waiting)
            return Ingested()
        self._forget(waiting)
        return Ingested(quarantined=1)

    def _finish(self, waiting: _Waiting) -> None:
        waiting.path.unlink(missing_ok=True)
        self._quarantine.forget(waiting.path.name)
        self._forget(waiting)

    def _forget(self, waiting: _Waiting) -> None:
        del self._waiting[waiting.path.name]
        self._read.remove(waiting)


def _usable(read: ReadResult) -> ReadResult:
    """A report, a header with all four UIDs, or the reason why there is none."""
    if not isinstance(read, InstanceHeader):
        return read
    uids = {
        "StudyInstanceUID": read.study_instance_uid,
        "SeriesInstanceUID": read.series_instance_uid,
        "SOPInstanceUID": read.sop_instance_uid,
        "SOPClassUID": read.sop_class_uid,
    }
    missing = ", ".join(name for name, uid in uids.items() if not uid)
    return Reason(ReasonCode.NO_STUDY, f"no usable {missing}") if missing else read
