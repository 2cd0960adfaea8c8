"""Freezes open studies into revisions as soon as they are due."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog
from sqlalchemy import Connection, Engine

from db.engine import outage_as_unavailable
from db.studies.arrivals import OpenStudy, open_studies, read_arrivals
from db.studies.assembly import freeze, freeze_early
from db.studies.associations import ended
from dicom_listener.assembly.counting import Counts
from dicom_listener.assembly.evidence import Decision, Evidence, Known, due
from dicom_listener.assembly.study import StudyFacts, study_facts
from dicom_listener.backlog import Backlog
from neurotriage.core.settings import Settings
from neurotriage.core.values import EARLY

log = structlog.get_logger()

# A study to which images come is read again no more often than this, and in this part of the time at most.
_READ_EVERY_S: Final = 0.5
_READING_SHARE: Final = 0.05
# What is left of a pass after this waits for the next one, which looks at what has changed since.
_READ_FOR_S: Final = 1.0
_JUDGE_FOR_S: Final = 1.0


_NOT_READ: Final = ""  # no version of a study


@dataclass(frozen=True, slots=True)
class _Read:
    """A study as it was read, and when it may be read again while images come."""

    version: str
    facts: StudyFacts | None  # None: it has no images
    again_at: float  # monotonic


class Assembler:
    """Judges the open studies, again and again. Not thread-safe."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine, self._settings = engine, settings
        self._read: dict[int, _Read] = {}
        self._counts = Counts(settings)
        self._ended: Mapping[str, bool] = {}

    def step(self, backlog: Backlog | None = None) -> list[int]:
        """Make the revisions that are due; their ids.

        ``backlog``: files received and not recorded yet. Raises ``Unavailable`` while Postgres does not
        answer. An error on one study is raised after all others were tried.
        """
        errors: list[Exception] = []
        with outage_as_unavailable(), self._engine.begin() as connection:
            waiting = open_studies(connection)
            self._read_changed(connection, waiting, errors)
            released = self._released(connection)
        revisions: list[int] = []
        end = time.monotonic() + _JUDGE_FOR_S
        for study in waiting:
            if revisions and time.monotonic() > end:
                break
            try:
                revision = self._judge(study, released, backlog)
            except Exception as error:  # noqa: BLE001 - raised below
                errors.append(error)
                continue
            if revision is not None:
                revisions.append(revision)
        if errors:
            raise errors[0]
        return revisions

    def _read_changed(
        self, connection: Connection, waiting: Sequence[OpenStudy], errors: list[Exception]
    ) -> None:
        is_open = {study.id for study in waiting}
        self._read = {study_id: read for study_id, read in self._read.items() if study_id in is_open}
        self._counts.keep(is_open)
        end = time.monotonic() + _READ_FOR_S
        for study in waiting:
            read, now = self._read.get(study.id), time.monotonic()
            if now > end:
                return
            if read is not None and (read.version == study.version or now < read.again_at):
                continue
            known = read_arrivals(connection, study)
            version, facts = study.version, None
            try:
                facts = study_facts(known) if known.arrivals else None
            except Exception as error:  # noqa: BLE001 - of ours, about this study alone
                errors.append(error)
                version = _NOT_READ
            spent_s = time.monotonic() - now
            again_at = now + max(_READ_EVERY_S, spent_s / _READING_SHARE)
            self._read[study.id] = _Read(version, facts, again_at)

    def _released(self, connection: Connection) -> Mapping[str, bool]:
        """Of the associations of the open studies that have ended: whether each was released."""
        facts = [read.facts for read in self._read.values() if read.facts]
        names = {name for one in facts for name in one.associations if name}
        known = {name: released for name, released in self._ended.items() if name in names}
        # How one has ended does not change.
        self._ended = known | dict(ended(connection, names - known.keys()))
        return self._ended

    def _judge(self, study: OpenStudy, released: Mapping[str, bool], backlog: Backlog | None) -> int | None:
        read = self._read.get(study.id)
        if read is None or read.version != study.version:
            return None
        facts = read.facts
        if facts is None:
            return self._without_images(study)
        behind_s = backlog.behind_s(facts.peers, datetime.now(UTC)) if backlog else 0.0
        count = self._counts.of(facts, study.version, study.idle_s - behind_s)
        decision = due(facts, Known(study.idle_s, behind_s, released, count), self._settings.assembly)
        if decision is None:
            return None
        revision = self._freeze(study.id, decision)
        if revision is not None:
            log.info("study_ready", study=study.id, revision=revision, completed_by=decision.completed_by)
        return revision

    def _without_images(self, study: OpenStudy) -> int | None:
        """A study whose images were all rejected ends as well; more may come in place of them."""
        quiet_s = self._settings.assembly.quiet_s
        if study.idle_s < quiet_s:
            return None
        return self._freeze(study.id, Decision(Evidence.QUIET, "no image is left, and none came", quiet_s))

    def _freeze(self, study_id: int, decision: Decision) -> int | None:
        self._read.pop(study_id, None)  # its instances are in a revision now
        with outage_as_unavailable(), self._engine.begin() as connection:
            if decision.completed_by == EARLY:
                return freeze_early(
                    connection,
                    study_id,
                    decision.series,
                    at_most=self._settings.assembly.first_looks,
                    evidence=decision.words,
                )
            return freeze(
                connection,
                study_id,
                idle_s=decision.idle_s,
                completed_by=decision.completed_by,
                evidence=decision.words,
            )
