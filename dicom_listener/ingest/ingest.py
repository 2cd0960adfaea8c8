"""From the spool to rows and the store. Killed at any moment, it loses nothing and doubles nothing.

A file is linked into the store under its digest, its row is committed, and only then is the spool's name
removed. What was interrupted is done again from the spool, and each step finds its own work done.
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
from db.instances import record_instances
from dicom_listener.backlog import Backlog
from dicom_listener.ingest.fair_queue import Turns
from dicom_listener.ingest.header_readers import HeaderReaders, Question, Read, What
from dicom_listener.ingest.quarantine import Kind, Quarantine
from dicom_listener.ingest.reports import record_report
from dicom_listener.ingest.store import keep
from dicom_listener.spool import ReceivedInstance, Spool, received, unread, written_at
from neurotriage.core.errors import Unavailable
from neurotriage.core.reception import Reception, Sender
from neurotriage.core.settings import DeliverySettings
from neurotriage.core.storage import Storage
from neurotriage.core.values import Reason, ReasonCode
from neurotriage.dicom.commitment import CommitmentReport
from neurotriage.dicom.headers import InstanceHeader
from neurotriage.dicom.uids import DOCTOR_INSTALLATION_UID, RUN_INSTALLATION_UID

log = structlog.get_logger()

# Instances of one transaction at most: a group costs as many statements as one instance.
GROUP: Final = 32
# What was read waits no longer than this for others to share its transaction.
_GROUP_WAIT_S: Final = 0.1
# Files of the spool that are known at once; the rest waits unseen, and is known to wait.
_MAX_KNOWN: Final = 20_000
# A full spool is listed rarely: listing takes this part of the time at most.
_LISTING_SHARE: Final = 0.1
# What was read and waits to be recorded, while Postgres takes nothing.
_MAX_READ: Final = 2 * GROUP


@dataclass(frozen=True, slots=True)
class Ingested:
    """What was done."""

    recorded: int = 0  # new instances
    repeated: int = 0  # came before, or share a SOP Instance UID with one that did
    reports: int = 0  # of storage commitment
    quarantined: int = 0

    def __add__(self, other: "Ingested") -> "Ingested":
        return Ingested(
            self.recorded + other.recorded,
            self.repeated + other.repeated,
            self.reports + other.reports,
            self.quarantined + other.quarantined,
        )


@dataclass(slots=True)
class _Waiting:
    """A file of the spool that is not recorded yet."""

    question: Question
    reception: Reception
    read: Read | None = None
    read_at: float = 0.0  # monotonic

    @property
    def path(self) -> Path:
        return self.question.path


class Ingest:
    """Takes in what lies in the spool, the peers by turns. For one thread."""

    def __init__(
        self,
        engine: Engine,
        storage: Storage,
        spool: Spool,
        readers: HeaderReaders,
        quarantine: Quarantine,
        *,
        limits: DeliverySettings,
        installations: Collection[str] = (),
    ) -> None:
        self._engine, self._storage, self._spool = engine, storage, spool
        self._readers, self._quarantine, self._limits = readers, quarantine, limits
        self._installations = {*installations, RUN_INSTALLATION_UID, DOCTOR_INSTALLATION_UID}
        self._waiting: dict[Path, _Waiting] = {}
        self._read: list[_Waiting] = []
        self._turns = Turns()
        self._left_alone: set[Path] = set()
        self._seen_until = datetime.now(UTC)
        self._look_at = 0.0

    @property
    def idle(self) -> bool:
        """Nothing waits, as far as the spool was looked at."""
        return not self._waiting

    def step(self, wait_s: float) -> Ingested:
        """Look, have files read, record what was read; waits for a reader at most ``wait_s``.

        Raises ``Unavailable`` while Postgres or the disk does not take it; the files stay where they are.
        """
        try:
            self._look()
            self._hand_out()
            answers = self._readers.answers(wait_s) if self._readers.busy else []
        except OSError as error:
            raise Unavailable(str(error)) from error
        for question, read in answers:
            waiting = self._waiting.get(question.path)
            if waiting is not None and waiting.read is None:
                waiting.read, waiting.read_at = _usable(read), time.monotonic()
                self._read.append(waiting)
        return self._record(self._due())

    def drain(self) -> Ingested:
        """Work until nothing waits any more. Raises as ``step`` does."""
        self._look_at = 0.0
        done = self.step(0.0)
        while not self.idle:
            done += self.step(_GROUP_WAIT_S)
        return done

    def backlog(self) -> Backlog:
        """How far the rows are behind the spool."""
        oldest: dict[Sender, datetime] = {}
        for waiting in self._waiting.values():
            peer, came_at = waiting.reception.peer, waiting.reception.received_at
            oldest[peer] = min(oldest.get(peer, came_at), came_at)
        return Backlog(self._seen_until, oldest)

    def _look(self) -> None:
        """Take note of what has come."""
        begun, looked_at = time.monotonic(), datetime.now(UTC)
        if begun < self._look_at:
            return
        known = self._waiting.keys() | self._left_alone
        new: list[tuple[What, Path]] = [
            ("header", path) for path in self._spool.waiting() if path not in known
        ]
        new += [("report", path) for path in self._spool.reports() if path not in known]
        room = _MAX_KNOWN - len(self._waiting)
        for what, path in new[:room]:
            self._add(Question(what, path))
        if len(new) <= room:
            self._seen_until = looked_at
        else:
            self._seen_until = min(looked_at, written_at(new[room][1]))
        self._look_at = begun + (time.monotonic() - begun) / _LISTING_SHARE

    def _add(self, question: Question) -> None:
        path = question.path
        try:
            waiting = _Waiting(question, received(path).reception)
        except FileNotFoundError:
            return
        except OSError as error:  # a folder, or nothing that we may read
            reason = Reason(ReasonCode.NOT_RECORDED, f"the file cannot be opened: {error.strerror}")
            waiting = _Waiting(question, unread(path), reason)
            self._read.append(waiting)
        else:
            self._turns.add(waiting.reception.peer, path)
        self._waiting[path] = waiting

    def _hand_out(self) -> None:
        while self._readers.free and len(self._read) < _MAX_READ:
            reading = Counter(waiting.reception.peer for waiting in self._at(self._readers.reading))
            slow = Counter(waiting.reception.peer for waiting in self._at(self._readers.slow))
            path = self._turns.take(reading, slow, self._readers.limit)
            if path is None:
                return
            self._readers.ask(self._waiting[path].question)

    def _at(self, questions: Iterable[Question]) -> list[_Waiting]:
        return [self._waiting[question.path] for question in questions if question.path in self._waiting]

    def _due(self) -> list[_Waiting]:
        """What is to be recorded now, in the order in which it came."""
        reading = self._readers.reading
        # Of two instances under one UID, the one that came first counts, whichever was read first.
        held = {waiting.reception.affected_sop_instance_uid for waiting in self._at(reading)} - {""}
        ready = [waiting for waiting in self._read if waiting.reception.affected_sop_instance_uid not in held]
        waited_s = time.monotonic() - min((waiting.read_at for waiting in ready), default=math.inf)
        if len(ready) >= GROUP or not reading or waited_s >= _GROUP_WAIT_S:
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
        """All in one transaction; where that fails, one by one, so that one spoils no other."""
        came = [(item.read, item) for item in group if isinstance(item.read, InstanceHeader)]
        if not came:
            return Ingested()
        try:
            files = [(ReceivedInstance(item.path, item.reception), header.digest) for header, item in came]
            keep(files, self._storage)
            with outage_as_unavailable(), self._engine.begin() as connection:
                new = record_instances(
                    connection,
                    [(header, item.reception) for header, item in came],
                    now=datetime.now(UTC),
                    installations=self._installations,
                )
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - an error of ours must cost its file and no other
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
        reason = self._quarantine.blame(waiting.path.name, error)
        return Ingested() if reason is None else self._set_aside(waiting, reason)

    def _set_aside(self, waiting: _Waiting, reason: Reason) -> Ingested:
        kind: Kind = "instance" if waiting.question.what == "header" else "report"
        try:
            self._quarantine.set_aside(kind, waiting.path, reason, waiting.reception)
        except Unavailable:
            raise
        except Exception:
            log.exception("left_alone_until_restart", name=waiting.path.name)
            self._left_alone.add(waiting.path)
            self._forget(waiting)
            return Ingested()
        self._forget(waiting)
        return Ingested(quarantined=1)

    def _finish(self, waiting: _Waiting) -> None:
        waiting.path.unlink(missing_ok=True)
        self._quarantine.forget(waiting.path.name)
        self._forget(waiting)

    def _forget(self, waiting: _Waiting) -> None:
        del self._waiting[waiting.path]
        self._read.remove(waiting)


def _usable(read: Read) -> Read:
    """A header with all four UIDs, or the reason why it is none."""
    if not isinstance(read, InstanceHeader):
        return read
    uids = {
        "StudyInstanceUID": read.study_instance_uid,
        "SeriesInstanceUID": read.series_instance_uid,
        "SOPInstanceUID": read.sop_instance_uid,
        "SOPClassUID": read.sop_class_uid,
    }
    missing = [name for name, uid in uids.items() if not uid]
    return Reason(ReasonCode.NO_STUDY, f"no usable {', '.join(missing)}") if missing else read
