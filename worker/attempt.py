"""One attempt at a revision: claim it, analyse it, write and record the results, or release it."""

import functools
import os
import socket
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import structlog
from celery import Celery
from pydicom import Dataset
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from db.corrections import withdrawal
from db.corrections.withdrawal import Withdrawn
from db.engine import connect
from db.studies import analyses, leases, objects, recall
from db.studies.analyses import LastAnalysis
from db.studies.leases import Lease
from db.studies.manifest import read_manifest
from db.studies.objects import WrittenObject
from db.studies.summaries import KeptSummary
from neurotriage import __version__
from neurotriage.core.errors import Refused, Unavailable
from neurotriage.core.evidence import Evidence
from neurotriage.core.process.doorbell import DELIVER, SUMMARISE, ring
from neurotriage.core.settings import Settings
from neurotriage.core.states import RevisionState
from neurotriage.core.storage import Storage, write_durably
from neurotriage.core.values import (
    EARLY,
    REPROCESSED,
    Analysis,
    ResultObject,
)
from neurotriage.dicom.headers import read_header
from worker.analysis import Selection, analyse, select_series
from worker.exhausted import exhausted
from worker.first_look import NOTHING_EARLY, as_first_look, tells_early
from worker.imaging import Image
from worker.keep import addresses_of, keep
from worker.lease import LeaseKeeper
from worker.results import Ground, build, rejection_note
from worker.routing import named_kinds, wanted_kinds
from worker.selection import BUILT_IN_ALONE, SiteRules
from worker.summary import tell
from worker.vision import Registry, read_registry
from worker.warm import warm_up

if TYPE_CHECKING:
    from worker.vision import Models
    from worker.vision.model import Model

log = structlog.get_logger()

_ERROR_FRAMES: Final = 40


def owner_name() -> str:
    """The owner of a lease: ``host:process id``."""
    return f"{socket.gethostname()}:{os.getpid()}"


@dataclass
class Worker:
    """One worker process: its configuration and what it keeps between tasks."""

    settings: Settings
    app: Celery
    rules: SiteRules = BUILT_IN_ALONE

    @functools.cached_property
    def engine(self) -> Engine:
        """Connected after the fork: a connection is not shared between processes."""
        return connect(self.settings.database.url)

    @functools.cached_property
    def storage(self) -> Storage:
        return Storage(self.settings.storage.root)

    @functools.cached_property
    def registry(self) -> Registry:
        return read_registry(self.settings.worker.weights)

    @functools.cached_property
    def installed_sha256s(self) -> frozenset[str]:
        return frozenset(card.sha256 for card in self.registry.reported_models)

    @functools.cached_property
    def models(self) -> "Models":
        """Loaded once per process, after the fork."""
        from worker.vision import models_for  # imports torch, which the parent must not

        return models_for(self.settings.worker, self.registry, self.storage.engines)

    def loaded(self) -> "tuple[Model, ...]":
        """The models that this process has loaded so far; loads none."""
        models: Models | None = vars(self).get("models")
        return () if models is None else models.loaded

    def warm_up(self) -> bool:
        """Load every model and run a whole analysis; False where that failed, which is logged only."""
        try:
            kinds = wanted_kinds(self.settings.destination)
            warm_up(lambda: self.models, self.registry.modalities, kinds, self.settings.results)
        except Exception as error:  # noqa: BLE001 - each study meets it again and reports it
            log.error("warm_up_failed", kind=type(error).__name__)
            return False
        return True

    def analyse(self, rung_for: int) -> None:
        """Claim the revision whose turn it is and finish it, or release it for another attempt.

        ``rung_for``: the one that the message names; its own turn may come with another message. Returns at
        once where none waits. Raises ``DBAPIError`` while Postgres is away.
        """
        limits = self.settings.worker
        with self.engine.begin() as connection:
            held = leases.claim_next(
                connection, owner=owner_name(), lease_s=limits.lease_s, attempts=limits.max_attempts + 1
            )
        if held is None:
            return
        if held.revision_id != rung_for:
            log.info("turn_of_another", revision=held.revision_id, rung_for=rung_for)
        with LeaseKeeper(self.engine, held, lease_s=limits.lease_s, deadline_s=limits.deadline_s):
            try:
                destinations = self._work(held)
            except Exception as error:  # noqa: BLE001 - the error is recorded with the revision
                self._release(held, error)
                return
        for name in destinations:
            ring(self.app, DELIVER, name)

    def _release(self, held: Lease, error: Exception) -> None:
        """Release the revision: at once after a bug, with a delay where storage, database or GPU failed."""
        environment = isinstance(error, OSError | Unavailable | DBAPIError)
        # An error's text may contain header values, so only its type is logged.
        log.error(
            "attempt_failed", revision=held.revision_id, attempt=held.attempt, kind=type(error).__name__
        )
        details = "".join(traceback.format_exception(error, limit=_ERROR_FRAMES))
        retry_in_s = self.settings.worker.lease_s * held.attempt if environment else 0.0
        with self.engine.begin() as connection:
            leases.give_back(connection, held, details, retry_in_s=retry_in_s)

    def _work(self, held: Lease) -> tuple[str, ...]:
        """Analyse, write and record the results; returns the names of the destinations that get some."""
        started_at = datetime.now(UTC).astimezone()
        with self.engine.begin() as connection:
            manifest = read_manifest(connection, held.revision_id, self.storage)
            installation = analyses.installation_uid(connection)
            last = analyses.last_analysis(connection, held.study_id)
            previous = objects.last_documents(connection, held.study_id)
            earlier = analyses.earlier_outcome(connection, held.revision_id)
            sender = analyses.sender(connection, held.study_id)
            withdrawn = {Ground.WITHDRAWN: withdrawal.withdrawn(connection, held.study_id)}
            if manifest.completed_by == recall.RECALL:
                withdrawn[Ground.MODEL_RECALLED] = recall.retracted(connection, held)
        images: Mapping[str, Sequence[Image]] = {}
        if held.attempt > self.settings.worker.max_attempts:
            if manifest.completed_by == EARLY:  # a failure is told of a complete study only
                with self.engine.begin() as connection:
                    leases.finish(connection, held, RevisionState.UNCHANGED, why=NOTHING_EARLY)
                return ()
            analysis, evidence = exhausted(manifest, held.attempt - 1, started_at), Evidence()
        else:
            selection = select_series(manifest, self.registry.eligibility, self.rules, sender[0])
            afresh = manifest.completed_by == REPROCESSED
            if last is not None and not afresh and self._is_unchanged(selection, last):
                with self.engine.begin() as connection:
                    leases.finish(connection, held, RevisionState.UNCHANGED)
                return ()
            analysis, evidence = analyse(selection, self.registry.modalities, lambda: self.models, started_at)
            if manifest.completed_by == EARLY:
                if not tells_early(analysis):
                    with self.engine.begin() as connection:
                        leases.finish(connection, held, RevisionState.UNCHANGED, why=NOTHING_EARLY)
                    return ()
                analysis = as_first_look(analysis)
            images = selection.images
        told = tell(analysis, self.settings.summary, self.settings.results.claims, earlier)
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
            images=images,
            summary=told.summary,
        )
        analysis = replace(analysis, omissions=results.omissions)
        written = self._write(held, analysis, evidence, results.objects, sender)
        written += self._withdraw(held, analysis, installation, withdrawn, written)
        asks = self.settings.summary.asks and told.facts.series_analysed > 0
        with self.engine.begin() as connection:
            recorded = analyses.record_analysis(
                connection,
                held,
                analysis,
                started_at,
                written,
                self.settings.results.claims,
                KeptSummary(told.summary, told.facts_document()),
                ask=asks,
            )
        log.info("analysed", revision=held.revision_id, outcome=analysis.outcome, recorded=recorded)
        if recorded and asks:
            ring(self.app, SUMMARISE, held.revision_id)
        return tuple({name for w in written for name in w.destinations}) if recorded else ()

    def _is_unchanged(self, selection: Selection, last: LastAnalysis) -> bool:
        """Whether images, models, software and claims are those of the last analysis.

        Changed labels, overlay style, text or destinations make no new results, nor do rules of the site by
        which the same images are analysed; ``neurotriage reprocess`` does.
        """
        return bool(
            selection.input_digest == last.input_digest
            and last.software_version == __version__
            and last.claims == self.settings.results.claims
            and last.model_sha256s <= self.installed_sha256s
            # A study that no model analysed is analysed once a model for it is installed.
            and (
                last.model_sha256s or not any(s.modality in self.registry.modalities for s in selection.taken)
            )
        )

    def _write(
        self,
        held: Lease,
        analysis: Analysis,
        evidence: Evidence,
        made: Iterable[ResultObject],
        sender: tuple[str, str],
    ) -> list[WrittenObject]:
        """Write evidence and result objects durably, before any row refers to them."""
        write_durably(self.storage.evidence(held.revision_id), evidence.to_bytes())
        written = []
        for result in made:
            addresses = addresses_of(self.settings.destination, analysis, result, sender)
            written.append(keep(self.storage, held.revision_id, result, addresses, self.settings.destination))
        return written

    def _withdraw(
        self,
        held: Lease,
        analysis: Analysis,
        installation: str,
        withdrawn: Mapping[Ground, Sequence[Withdrawn]],
        current: Iterable[WrittenObject],
    ) -> list[WrittenObject]:
        """A rejection note for each destination that wants notes and got results that are withdrawn.

        ``current``: what takes their place, which is never rejected.
        """
        wanting = {d.name for d in self.settings.destination if d.rejection_notes}
        made = {item.result.sop_instance_uid for item in current}
        by_address: dict[tuple[str, Ground], list[Withdrawn]] = {}
        for ground, items in withdrawn.items():
            for item in items:
                known = item.destination.partition("/")[0] in wanting
                if known and item.reference.sop_instance_uid not in made:
                    by_address.setdefault((item.destination, ground), []).append(item)
        notes = []
        for index, ((address, ground), items) in enumerate(by_address.items()):
            note = rejection_note(
                analysis,
                self._header(items[0]),
                installation,
                [item.reference for item in items],
                ground=ground,
                index=index,
                claims=self.settings.results.claims,
            )
            if note is not None:
                notes.append(keep(self.storage, held.revision_id, note, (address,)))
        return notes

    def _header(self, withdrawn: Withdrawn) -> Dataset:
        """Whose object it was, as the archive knows it; empty where its file is gone."""
        try:
            return read_header(self.storage.root / withdrawn.path)
        except Refused:
            return Dataset()
