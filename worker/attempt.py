"""One attempt at a revision: claim it, analyse it, write and record the results, or leave it to another."""

import functools
import os
import socket
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import structlog
from celery import Celery
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from db import analyses, leases, recall
from db.analyses import LastAnalysis, WrittenObject
from db.engine import connect
from db.leases import Lease
from db.recall import Retracted
from neurotriage import __version__
from neurotriage.core.errors import Unavailable
from neurotriage.core.evidence import Evidence
from neurotriage.core.process.doorbell import DELIVER, ring
from neurotriage.core.settings import Settings
from neurotriage.core.states import RevisionState
from neurotriage.core.storage import Storage, write_durably
from neurotriage.core.values import (
    REPROCESSED,
    Analysis,
    ObjectReference,
    Reason,
    ReasonCode,
    ResultObject,
    StudyManifest,
)
from worker.analysis import Selection, analyse, failure, select_series
from worker.delivery import address_of
from worker.lease import LeaseKeeper
from worker.results import build, rejection_note
from worker.routing import named_kinds, wanted, wanted_kinds
from worker.vision import modalities
from worker.vision.registry.rule import reported_models
from worker.warm import warm_up

if TYPE_CHECKING:
    from worker.vision import Models

log = structlog.get_logger()

_ERROR_FRAMES: Final = 40


def owner_name() -> str:
    """Who holds a lease: host and process."""
    return f"{socket.gethostname()}:{os.getpid()}"


@dataclass
class Worker:
    """One worker process: its configuration and what it keeps between tasks."""

    settings: Settings
    app: Celery

    @functools.cached_property
    def engine(self) -> Engine:
        """Connected after the fork: a connection is not shared between processes."""
        return connect(self.settings.database.url)

    @functools.cached_property
    def storage(self) -> Storage:
        return Storage(self.settings.storage.root)

    @functools.cached_property
    def modalities(self) -> frozenset[str]:
        return modalities(self.settings.worker.weights)

    @functools.cached_property
    def installed_sha256s(self) -> frozenset[str]:
        return frozenset(card.sha256 for card in reported_models(self.settings.worker.weights))

    @functools.cached_property
    def models(self) -> "Models":
        """Loaded once per process, after the fork."""
        from worker.vision import EngineRequest, load_models  # imports torch, which the parent must not

        limits = self.settings.worker
        wish = EngineRequest(limits.engine, self.storage.engines)
        light = limits.models == "light"
        return load_models(limits.weights, threads=limits.threads or None, engine=wish, light=light)

    def warm_up(self) -> bool:
        """Load every model and run all that an analysis runs; False where it failed, which ends nothing."""
        try:
            kinds = wanted_kinds(self.settings.destination)
            warm_up(lambda: self.models, self.modalities, kinds, self.settings.results)
        except Exception as error:  # noqa: BLE001 - each study will meet it again, and be told so
            log.error("warm_up_failed", kind=type(error).__name__)
            return False
        return True

    def analyse(self, revision_id: int) -> None:
        """Claim a revision and end it, or leave it to another attempt."""
        limits = self.settings.worker
        with self.engine.begin() as connection:
            held = leases.claim(connection, revision_id, owner=owner_name(), lease_s=limits.lease_s)
        if held is None:
            return
        with LeaseKeeper(self.engine, held, lease_s=limits.lease_s, deadline_s=limits.deadline_s):
            try:
                destinations = self._work(held)
            except Exception as error:  # noqa: BLE001 - whatever went wrong is kept with the revision
                self._leave(held, error)
                return
        for name in destinations:
            ring(self.app, DELIVER, name)

    def _leave(self, held: Lease, error: Exception) -> None:
        """Leave the revision to another attempt: soon after a bug, later where the surroundings failed."""
        surroundings = isinstance(error, OSError | Unavailable | DBAPIError)
        # The text of an error may hold a header's values, so the log gets its kind only.
        log.error(
            "attempt_failed", revision=held.revision_id, attempt=held.attempt, kind=type(error).__name__
        )
        told = "".join(traceback.format_exception(error, limit=_ERROR_FRAMES))
        retry_in_s = self.settings.worker.lease_s * held.attempt if surroundings else 0.0
        with self.engine.begin() as connection:
            leases.give_back(connection, held, told, retry_in_s=retry_in_s)

    def _work(self, held: Lease) -> tuple[str, ...]:
        """Analyse, write the results, record them; the destinations that get some."""
        started_at = datetime.now(UTC).astimezone()
        with self.engine.begin() as connection:
            manifest = leases.manifest(connection, held.revision_id, self.storage)
            installation = analyses.installation_uid(connection)
            last = analyses.last_analysis(connection, held.study_id)
            previous = analyses.last_report(connection, held.study_id)
            sender = analyses.sender(connection, held.study_id)
            withdrawn = recall.retracted(connection, held) if manifest.completed_by == recall.RECALL else []
        selection = select_series(manifest)
        afresh = manifest.completed_by == REPROCESSED
        if last is not None and not afresh and self._says_nothing_new(selection, last):
            with self.engine.begin() as connection:
                leases.finish(connection, held, RevisionState.UNCHANGED)
            return ()
        analysis, evidence = self._analysis(held, selection, started_at)
        results = build(
            analysis,
            evidence,
            manifest,
            installation,
            claims=self.settings.results.claims,
            kinds=wanted_kinds(self.settings.destination),
            labels=self.settings.results.labels,
            overlay=self.settings.results.overlay,
            previous=previous,
            named=named_kinds(self.settings.destination),
        )
        analysis = replace(analysis, omissions=results.omissions)
        written = self._write(held, analysis, evidence, results.objects, sender)
        current = {item.result.sop_instance_uid for item in written}
        old = [item for item in withdrawn if item.reference.sop_instance_uid not in current]
        written += self._withdraw(held, analysis, manifest, installation, old)
        with self.engine.begin() as connection:
            recorded = analyses.record_analysis(
                connection, held, analysis, started_at, written, self.settings.results.claims
            )
        log.info("analysed", revision=held.revision_id, outcome=analysis.outcome, recorded=recorded)
        return tuple({name for w in written for name in w.destinations}) if recorded else ()

    def _says_nothing_new(self, selection: Selection, last: LastAnalysis) -> bool:
        """The same images, models, software and claims: no new revision of the results is wanted.

        Changed labels, overlay style or destinations alone are no reason; ``neurotriage reprocess`` is.
        """
        return bool(
            selection.input_digest == last.input_digest
            and last.software_version == __version__
            and last.claims == self.settings.results.claims
            and last.model_sha256s <= self.installed_sha256s
            # What no model looked at is looked at when there is one.
            and (last.model_sha256s or not any(s.modality in self.modalities for s in selection.taken))
        )

    def _analysis(self, held: Lease, selection: Selection, at: datetime) -> tuple[Analysis, Evidence]:
        if held.attempt > self.settings.worker.max_attempts:
            text = (
                f"the analysis failed {held.attempt - 1} times; the log and the revision's last error say why"
            )
            return failure(selection, Reason(ReasonCode.ATTEMPTS_EXHAUSTED, text), at), Evidence()
        return analyse(selection, self.modalities, lambda: self.models, at)

    def _write(
        self,
        held: Lease,
        analysis: Analysis,
        evidence: Evidence,
        objects: Iterable[ResultObject],
        sender: tuple[str, str],
    ) -> list[WrittenObject]:
        """Write evidence and result objects durably, before any row names them."""
        write_durably(self.storage.evidence(held.revision_id), evidence.to_bytes())
        written = []
        for result in objects:
            wanting = (d for d in self.settings.destination if wanted(d, analysis, result))
            written.append(self._keep(held, result, tuple(address_of(d, sender) for d in wanting)))
        return written

    def _keep(self, held: Lease, result: ResultObject, addresses: tuple[str, ...]) -> WrittenObject:
        path = self.storage.result(held.revision_id, result.sop_instance_uid)
        write_durably(path, result.data)
        return WrittenObject(result, path.relative_to(self.storage.root), addresses)

    def _withdraw(
        self,
        held: Lease,
        analysis: Analysis,
        manifest: StudyManifest,
        installation: str,
        withdrawn: Iterable[Retracted],
    ) -> list[WrittenObject]:
        """A rejection note for each destination that wants one and got something of a recalled model."""
        wanting = {d.name for d in self.settings.destination if d.rejection_notes}
        there: dict[str, list[ObjectReference]] = {}
        for item in withdrawn:
            if item.destination.partition("/")[0] in wanting:
                there.setdefault(item.destination, []).append(item.reference)
        notes = []
        for index, (address, references) in enumerate(there.items()):
            note = rejection_note(
                analysis,
                manifest,
                installation,
                references,
                index=index,
                claims=self.settings.results.claims,
            )
            if note is not None:
                notes.append(self._keep(held, note, (address,)))
        return notes
