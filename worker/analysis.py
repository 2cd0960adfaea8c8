"""From a frozen study to an ``Analysis`` with its ``Evidence``: composes the stages, touches no row.

This is what a worker's task calls and what ``neurotriage run`` calls.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from neurotriage import __version__
from neurotriage.core.errors import Refused
from neurotriage.core.evidence import Evidence
from neurotriage.core.values import (
    Analysis,
    Outcome,
    Reason,
    ReasonCode,
    SeriesManifest,
    SeriesVerdict,
    StudyDecision,
    StudyManifest,
    Triage,
    digest_of,
)
from neurotriage.core.volume import Volume
from neurotriage.core.wording import counted
from worker.imaging import (
    MAX_VOXELS,
    BuiltVolume,
    build_volume,
    judge_extent,
    judge_pixels,
    read_registrations,
)
from worker.selection import not_looked_at, outcome_of_refusals, select

if TYPE_CHECKING:
    from worker.vision import Models


@dataclass(frozen=True, slots=True)
class Selection:
    """Which series of a study will be analysed, and why the others will not."""

    manifest: StudyManifest
    verdicts: tuple[SeriesVerdict, ...]
    taken: tuple[SeriesManifest, ...]
    timings_s: dict[str, float] = field(default_factory=dict)

    @property
    def input_digest(self) -> str:
        """Names what is analysed; all instances where no series is taken."""
        if not self.taken:
            return self.manifest.digest
        read = (*self.taken, *self.registrations)
        return digest_of((i.sop_instance_uid, i.digest) for series in read for i in series.instances)

    @property
    def registrations(self) -> tuple[SeriesManifest, ...]:
        """Series that may say how analysed ones of different modalities lie to each other."""
        if len({series.modality for series in self.taken}) < 2:
            return ()
        return tuple(series for series in self.manifest.series if series.modality == "REG")


class _Clock:
    """Seconds by stage."""

    def __init__(self, timings_s: dict[str, float]) -> None:
        self.timings_s = dict(timings_s)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        begun = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - begun
            self.timings_s[name] = round(self.timings_s.get(name, 0.0) + spent, 3)


def select_series(manifest: StudyManifest) -> Selection:
    """Choose the series to analyse by their headers."""
    clock = _Clock({})
    with clock.stage("select"):
        verdicts = select(manifest)
    chosen = {verdict.series_instance_uid for verdict in verdicts if verdict.taken}
    if manifest.conflict is not None:
        chosen = set()
    taken = tuple(series for series in manifest.series if series.series_instance_uid in chosen)
    return Selection(manifest, verdicts, taken, clock.timings_s)


def analyse(
    selection: Selection, modalities: frozenset[str], models: "Callable[[], Models]", at: datetime
) -> tuple[Analysis, Evidence]:
    """Analyse the selected series.

    ``modalities``: those for which there is a model. ``models`` is called only where there is something to
    predict. Every outcome but ``failed`` comes from here; an exception is a bug or the surroundings' fault.
    """
    clock = _Clock(selection.timings_s)
    if selection.manifest.conflict is not None:
        refusal = Outcome.NOT_ELIGIBLE, (selection.manifest.conflict,)
        return _unanalysed(selection, selection.verdicts, refusal, at, clock), Evidence()
    with clock.stage("decode"):
        read = _read_all(selection, modalities)
    if not read.volumes and not read.short:
        return _unanalysed(
            selection, read.verdicts, outcome_of_refusals(read.verdicts), at, clock
        ), Evidence()
    from worker.vision import analyse_volumes  # torch takes seconds to import; refusals do not need it

    with clock.stage("vision"):
        decision, evidence = analyse_volumes(
            read.volumes or read.short, models(), read_registrations(selection.registrations)
        )
    verdicts = _seen(read.verdicts, decision)
    if read.volumes and decision.outcome.analysed:
        return _analysed(selection, read.lost, verdicts, decision, at, clock), evidence
    # Too little of a head for an answer (but whether it is a head at all only the model can tell), or nothing
    # that the model would judge: what that means for the study depends on what the headers speak of, too.
    verdicts = tuple(_refused(verdict, read.extent.get(verdict.series_instance_uid)) for verdict in verdicts)
    refused = _unanalysed(selection, verdicts, outcome_of_refusals(verdicts), at, clock)
    notes = (*read.lost, *decision.degradations) if read.volumes else ()
    return replace(refused, degradations=notes), Evidence()


@dataclass(frozen=True, slots=True)
class _Read:
    """What decoding left: volumes to analyse, volumes that lack too much for an answer, and why."""

    verdicts: tuple[SeriesVerdict, ...]
    volumes: tuple[Volume, ...]
    short: tuple[Volume, ...]
    extent: dict[str, Reason]  # by series: what a volume lacks
    lost: tuple[str, ...]  # which images of the volumes to analyse are not in them


def _read_all(selection: Selection, modalities: frozenset[str]) -> _Read:
    verdicts = {verdict.series_instance_uid: verdict for verdict in selection.verdicts}
    volumes: list[Volume] = []
    short: list[Volume] = []
    extent: dict[str, Reason] = {}
    lost: list[str] = []
    for series in selection.taken:
        uid = series.series_instance_uid
        try:
            built = build_volume(series, MAX_VOXELS // len(selection.taken))
        except Refused as refused:
            verdicts[uid] = _refused(verdicts[uid], refused.reason)
            continue
        volume = built.volume
        if alien := judge_pixels(volume):
            verdicts[uid] = _refused(verdicts[uid], alien)
        elif volume.modality not in modalities:
            verdicts[uid] = _refused(
                verdicts[uid], built.missing or judge_extent(volume) or _no_model(volume)
            )
        elif lacking := built.missing or judge_extent(volume):
            short.append(volume)
            extent[uid] = lacking
        else:
            volumes.append(volume)
            lost += _unreadable(series, built)
    if volumes:
        for uid, objection in extent.items():
            verdicts[uid] = _refused(verdicts[uid], objection)
    return _Read(tuple(verdicts.values()), tuple(volumes), tuple(short), extent, tuple(lost))


def _unreadable(series: SeriesManifest, built: BuiltVolume) -> list[str]:
    """Images at the ends of the stack leave no gap in it when they cannot be read."""
    codes = (
        ReasonCode.UNREADABLE_PIXELS, ReasonCode.NO_PIXELS, ReasonCode.NO_GEOMETRY, ReasonCode.NOT_DICOM
    )  # fmt: skip
    reasons = [item.reason.text for item in built.left_out if item.reason.code in codes]
    if not reasons:
        return []
    where = f"{counted(len(reasons), 'image')} of series {series.series_instance_uid}"
    return [f"{where} could not be looked at; the first: {reasons[0]}"]


def _no_model(volume: Volume) -> Reason:
    kind = volume.modality
    return Reason(ReasonCode.NO_MODEL, f"a head {kind} series, but no {kind} model is installed")


def _refused(verdict: SeriesVerdict, reason: Reason | None) -> SeriesVerdict:
    """The verdict turned into a refusal, if there is a reason and it was not refused before."""
    if reason is None or not verdict.taken:
        return verdict
    return replace(verdict, taken=False, reason=reason, evidence="the pixels")


def _seen(verdicts: tuple[SeriesVerdict, ...], decision: StudyDecision) -> tuple[SeriesVerdict, ...]:
    """Series that the model would not judge are refused after all."""
    turned_away = {s.series_instance_uid: s.reason for s in decision.series if not s.outcome.analysed}
    return tuple(_refused(verdict, turned_away.get(verdict.series_instance_uid)) for verdict in verdicts)


def _unanalysed(
    selection: Selection,
    verdicts: tuple[SeriesVerdict, ...],
    refusal: tuple[Outcome, tuple[Reason, ...]],
    at: datetime,
    clock: _Clock,
) -> Analysis:
    outcome, reasons = refusal
    return Analysis(
        study_instance_uid=selection.manifest.study_instance_uid,
        revision=selection.manifest.revision,
        analysed_at=at,
        outcome=outcome,
        triage=Triage.PRIORITY if outcome is Outcome.UNDETERMINED else Triage.NONE,
        reasons=reasons,
        verdicts=verdicts,
        predictions=(),
        findings=(),
        series=(),
        input_digest=selection.input_digest,
        software_version=__version__,
        timings_s=clock.timings_s,
    )


def _analysed(
    selection: Selection,
    lost: tuple[str, ...],
    verdicts: tuple[SeriesVerdict, ...],
    decision: StudyDecision,
    at: datetime,
    clock: _Clock,
) -> Analysis:
    return Analysis(
        study_instance_uid=selection.manifest.study_instance_uid,
        revision=selection.manifest.revision,
        analysed_at=at,
        outcome=decision.outcome,
        triage=decision.triage,
        reasons=decision.reasons,
        verdicts=verdicts,
        predictions=decision.predictions,
        findings=decision.findings,
        series=decision.series,
        input_digest=selection.input_digest,
        software_version=__version__,
        degradations=(*not_looked_at(verdicts), *lost, *decision.degradations),
        timings_s={**clock.timings_s, **decision.timings_s},
    )


def failure(selection: Selection, reason: Reason, at: datetime) -> Analysis:
    """The analysis of a study that we could not analyse: our fault, and said so."""
    return _unanalysed(
        selection, selection.verdicts, (Outcome.FAILED, (reason,)), at, _Clock(selection.timings_s)
    )
