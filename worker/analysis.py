"""From a frozen study to an ``Analysis`` with its ``Evidence``: composes the stages, touches no row.

This is what a worker's task calls and what ``neurotriage run`` calls.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Final

import numpy as np

from neurotriage import __version__
from neurotriage.core.evidence import Evidence
from neurotriage.core.left_out import left_out_sentences
from neurotriage.core.values import (
    Analysis,
    LeftOut,
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
from worker.imaging import BuiltVolume, LeftOutImage, read_registrations
from worker.reading import Read, beside, left_out_by_reason, not_covered, read_all, refused
from worker.selection import ReadSeries, choose, lacking, not_looked_at, outcome_of_refusals
from worker.selection import describe_taken as said_of

if TYPE_CHECKING:
    from worker.vision import Models

_NOISE: Final = ReasonCode.NOISE
# Between two slices this far apart a tumour that matters may lie whole; slabs scanned apart are no error.
_HOLE_MM: Final = 15.0
# One slice of a pelvis may look like a head; where no header speaks of one, the model must say so of more.
_MIN_TO_SEE_A_HEAD: Final = 3


@dataclass(frozen=True, slots=True)
class Selection:
    """Which series of a study will be analysed, and why the others will not."""

    manifest: StudyManifest
    verdicts: tuple[SeriesVerdict, ...]
    series: tuple[ReadSeries, ...] = ()  # those that are taken, as their headers show them, the best first
    others: tuple[ReadSeries, ...] = ()
    timings_s: dict[str, float] = field(default_factory=dict)

    @property
    def taken(self) -> tuple[SeriesManifest, ...]:
        """The same in the manifest, with the modality that was found."""
        by_uid = {series.series_instance_uid: series for series in self.manifest.series}
        return tuple(
            replace(by_uid[one.series_instance_uid], modality=one.facts.modality) for one in self.series
        )

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
        verdicts, series, others = choose(manifest)
    if manifest.conflict is not None:
        series = ()
    return Selection(manifest, verdicts, series, others, clock.timings_s)


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
        read = read_all(selection.series, selection.verdicts, modalities)
    if not read.volumes:
        ended = outcome_of_refusals(read.verdicts)
        return _unanalysed(selection, read.verdicts, ended, at, clock), Evidence()
    from worker.vision import analyse_volumes  # torch takes seconds to import; refusals do not need it

    with clock.stage("vision"):
        decision, evidence = analyse_volumes(
            read.volumes, models(), read_registrations(selection.registrations)
        )
    if read.stacks and decision.outcome.analysed:
        return _analysed(selection, read, decision, at, clock), evidence
    # Too little of a head for an answer (but whether it is a head at all only the model can tell), or nothing
    # that the model would judge: what that means for the study depends on what the headers speak of, too.
    verdicts = tuple(_turned_away(verdict, decision, read) for verdict in read.verdicts)
    refused_study = _unanalysed(selection, verdicts, outcome_of_refusals(verdicts), at, clock)
    left_out = _left_out(read.left_out, {built.volume.series_instance_uid for built in read.stacks})
    notes = (*left_out_sentences(left_out), *decision.degradations) if read.stacks else ()
    return replace(refused_study, degradations=notes, left_out=left_out), Evidence()


def _turned_away(verdict: SeriesVerdict, decision: StudyDecision, read: Read) -> SeriesVerdict:
    """The end of a series of which no stack is analysed: by what the model says of its largest one."""
    own = [row for row in decision.series if row.series_instance_uid == verdict.series_instance_uid]
    if not own:
        return verdict
    heads = [row for row in own if row.outcome is not Outcome.NOT_ELIGIBLE and row.reason.code is not _NOISE]
    row = heads[0] if heads else own[0]
    lacks = read.lacking.get((row.series_instance_uid, row.stack))
    seen = any(len(row.slices) >= _MIN_TO_SEE_A_HEAD for row in heads)
    return refused(verdict, lacks if heads and lacks else row.reason, head_seen=seen)


def _left_out(
    by_series: Mapping[str, Sequence[LeftOutImage]], analysed: Collection[str]
) -> tuple[LeftOut, ...]:
    return tuple(
        item
        for uid, images in by_series.items()
        if uid in analysed
        for item in left_out_by_reason(uid, images)
    )


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
    selection: Selection, read: Read, decision: StudyDecision, at: datetime, clock: _Clock
) -> Analysis:
    rows = {(row.series_instance_uid, row.stack): row for row in decision.series}
    built = [(rows[one.volume.series_instance_uid, one.volume.stack], one) for one in read.stacks]
    analysed = [one for row, one in built if row.outcome.analysed]
    uids = {one.volume.series_instance_uid for one in analysed}
    images = {uid: list(read.left_out[uid]) for uid in read.left_out if uid in uids}
    for row, one in built:
        if not row.outcome.analysed and row.series_instance_uid in uids:
            images[row.series_instance_uid] += [LeftOutImage(image, row.reason) for image in one.images]
    left_out = _left_out(images, uids)
    verdicts = tuple(_seen(verdict, selection, analysed, decision) for verdict in read.verdicts)
    volumes = [one.volume for one in analysed]
    why = lacking(verdicts)
    lost = (
        *not_covered(chain.from_iterable(images.values()), volumes),
        *beside(
            [
                (series, why[series.series_instance_uid])
                for series in (*selection.series, *selection.others)
                if series.series_instance_uid in why
            ],
            volumes,
        ),
    )
    outcome, triage, reasons = _without_silent_part(decision, analysed, lost)
    return Analysis(
        study_instance_uid=selection.manifest.study_instance_uid,
        revision=selection.manifest.revision,
        analysed_at=at,
        outcome=outcome,
        triage=triage,
        reasons=reasons,
        verdicts=verdicts,
        predictions=decision.predictions,
        findings=decision.findings,
        series=decision.series,
        input_digest=selection.input_digest,
        software_version=__version__,
        degradations=(
            *not_looked_at(verdicts),
            *left_out_sentences(left_out),
            *_apart(analysed),
            *(
                f"series {one.volume.series_instance_uid}, {text}"
                for one in analysed
                for text in one.oddities
            ),
            *decision.degradations,
        ),
        timings_s={**clock.timings_s, **decision.timings_s},
        left_out=left_out,
    )


def _apart(analysed: Sequence[BuiltVolume]) -> tuple[str, ...]:
    """What is judged stack by stack has edges inside the head."""
    texts = []
    for uid in dict.fromkeys(one.volume.series_instance_uid for one in analysed):
        slices = [len(one.images) for one in analysed if one.volume.series_instance_uid == uid]
        if len(slices) > 1:
            counts = " and ".join(map(str, slices))
            texts.append(f"{len(slices)} stacks of series {uid} ({counts} slices) were not analysed as one")
    return tuple(texts)


def _without_silent_part(
    decision: StudyDecision, analysed: Sequence[BuiltVolume], lost: Sequence[LeftOutImage]
) -> tuple[Outcome, Triage, tuple[Reason, ...]]:
    """No study is absent of which a part lies where nothing was analysed (``reading.not_covered``)."""
    hole_mm = max((_widest_hole_mm(one.volume) for one in analysed), default=0.0)
    if decision.outcome is not Outcome.ABSENT or not (lost or hole_mm >= _HOLE_MM):
        return decision.outcome, decision.triage, decision.reasons
    slices = counted(sum(len(one.images) for one in analysed), "slice")
    if not lost:
        text = f"no tumour on the {slices} that were analysed, but {hole_mm:.0f} mm lie between two of them"
        return Outcome.UNDETERMINED, Triage.PRIORITY, (Reason(ReasonCode.PART_NOT_ANALYSED, text),)
    verb = "lies" if len(lost) == 1 else "lie"
    text = (
        f"no tumour on the {slices} that were analysed, but {counted(len(lost), 'image')} {verb} "
        f"where nothing was analysed: {left_out_by_reason('', lost)[0].reason.text}"
    )
    return Outcome.UNDETERMINED, Triage.PRIORITY, (Reason(ReasonCode.PART_NOT_ANALYSED, text),)


def _widest_hole_mm(volume: Volume) -> float:
    """The widest distance between neighbouring slices that no slice's thickness fills, in mm."""
    steps_mm = np.linalg.norm(np.diff(volume.positions_mm, axis=0), axis=1)
    return float(steps_mm.max(initial=0.0)) - volume.thickness_mm


def _seen(
    verdict: SeriesVerdict, selection: Selection, analysed: Sequence[BuiltVolume], decision: StudyDecision
) -> SeriesVerdict:
    """A verdict with what was analysed; a series of which the model would judge nothing is refused."""
    uid = verdict.series_instance_uid
    own = [one for one in analysed if one.volume.series_instance_uid == uid]
    if own and verdict.taken:
        series = next(one for one in selection.series if one.series_instance_uid == uid)
        text = said_of(series, sum(len(one.images) for one in own), len(own))
        return replace(verdict, reason=Reason(ReasonCode.ELIGIBLE, text))
    turned_away = next((row.reason for row in decision.series if row.series_instance_uid == uid), None)
    return refused(verdict, turned_away)


def failure(selection: Selection, reason: Reason, at: datetime) -> Analysis:
    """The analysis of a study that we could not analyse: our fault, and said so."""
    return _unanalysed(
        selection, selection.verdicts, (Outcome.FAILED, (reason,)), at, _Clock(selection.timings_s)
    )
