"""From a frozen study to an ``Analysis`` with its ``Evidence``: composes the stages, touches no row.

This is what a worker's task calls and what ``neurotriage run`` calls.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING

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
from worker.eligibility import (
    LACKING,
    EligibilityRule,
    lacking,
    not_looked_at,
    outcome_of_refusals,
    outranked,
)
from worker.imaging import BuiltVolume, Image, LeftOutImage, read_registrations
from worker.not_analysed import beside, hiding, not_covered, part_not_analysed
from worker.reading import StudyReading, left_out_by_reason, read_study, refused
from worker.selection import BUILT_IN_ALONE, ReadSeries, SiteRules, choose, describe_taken

if TYPE_CHECKING:
    from worker.vision import Models


@dataclass(frozen=True, slots=True)
class Selection:
    """Which series of a study will be analysed, and why the others will not."""

    manifest: StudyManifest
    rule: EligibilityRule
    verdicts: tuple[SeriesVerdict, ...]
    series: tuple[ReadSeries, ...] = ()  # those that are taken, as their headers show them, the best first
    others: tuple[ReadSeries, ...] = ()
    timings_s: dict[str, float] = field(default_factory=dict)

    @property
    def taken(self) -> tuple[SeriesManifest, ...]:
        """The series that are taken, as in the manifest, with the modality of their headers."""
        by_uid = {series.series_instance_uid: series for series in self.manifest.series}
        return tuple(
            replace(by_uid[series.series_instance_uid], modality=series.facts.modality)
            for series in self.series
        )

    @property
    def images(self) -> Mapping[str, Sequence[Image]]:
        """The images of the series that are taken, by Series Instance UID; results are made of them."""
        return {series.series_instance_uid: series.images for series in self.series}

    @property
    def input_digest(self) -> str:
        """Names what is analysed, and what may stand against an answer without having been.

        All instances where no series is taken.
        """
        if not self.taken:
            return self.manifest.digest
        against = {series.series_instance_uid for series in self.others if _may_show_a_head(series)}
        beside = (series for series in self.manifest.series if series.series_instance_uid in against)
        read = (*self.taken, *self.registrations, *beside)
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


def select_series(
    manifest: StudyManifest, rule: EligibilityRule, site: SiteRules = BUILT_IN_ALONE, peer: str = ""
) -> Selection:
    """Choose the series to analyse by their headers. Never raises for bad input.

    ``site``: the rules of the site; ``peer``: calling AE title of the sender, empty where it is not known.
    """
    clock = _Clock({})
    with clock.stage("select"):
        choice = choose(manifest, rule, site, peer)
    series = choice.taken if manifest.conflict is None else ()
    return Selection(manifest, rule, choice.verdicts, series, choice.others, clock.timings_s)


def analyse(
    selection: Selection, modalities: frozenset[str], models: "Callable[[], Models]", at: datetime
) -> tuple[Analysis, Evidence]:
    """Analyse the selected series.

    ``modalities``: those for which there is a model. ``models`` is called only where there is something to
    predict. ``at`` becomes the time of the analysis. Every outcome but ``failed`` comes from here; an
    exception is a bug, or the fault of the installation (``BadWeights``) or the surroundings (``OSError``,
    ``MemoryError``).
    """
    clock = _Clock(selection.timings_s)
    if selection.manifest.conflict is not None:
        refusal = Outcome.NOT_ELIGIBLE, (selection.manifest.conflict,)
        return _unanalysed(selection, selection.verdicts, refusal, at, clock), Evidence()
    with clock.stage("decode"):
        reading = read_study(selection.series, modalities, selection.rule)
    verdicts = reading.verdicts(selection.verdicts)
    if not reading.volumes:
        return _unanalysed(selection, verdicts, outcome_of_refusals(verdicts), at, clock), Evidence()
    from worker.vision import analyse_volumes  # torch takes seconds to import; refusals do not need it

    with clock.stage("vision"):
        decision, evidence = analyse_volumes(
            reading.volumes, models(), read_registrations(selection.registrations)
        )
    if reading.stacks and decision.outcome.analysed:
        return _analysed(selection, reading, verdicts, decision, at, clock), evidence
    # Too little of a head for an answer (but whether it is a head at all only the network can tell), or
    # nothing that it would judge: what that means for the study depends on what the headers speak of, too.
    min_slices = selection.rule.min_slices_to_see_a_head
    verdicts = tuple(_turned_away(verdict, decision, reading, min_slices) for verdict in verdicts)
    refused_study = _unanalysed(selection, verdicts, outcome_of_refusals(verdicts), at, clock)
    left_out = _left_out(reading.left_out, {built.volume.series_instance_uid for built in reading.stacks})
    notes = (*left_out_sentences(left_out), *decision.degradations) if reading.stacks else ()
    return replace(refused_study, degradations=notes, left_out=left_out), Evidence()


def _turned_away(
    verdict: SeriesVerdict, decision: StudyDecision, reading: StudyReading, min_slices: int
) -> SeriesVerdict:
    """The verdict on a series of which no stack is analysed: by what the network says of its largest one.

    Where no header speaks of a head, the network must see one on ``min_slices`` at least.
    """
    stacks = [row for row in decision.series if row.series_instance_uid == verdict.series_instance_uid]
    if not stacks:
        return verdict
    heads = [row for row in stacks if row.outcome is not Outcome.NOT_ELIGIBLE]
    largest = heads[0] if heads else stacks[0]
    lacks = reading.lacks(largest.series_instance_uid, largest.stack)
    head_seen = any(len(row.slices) >= min_slices for row in heads)
    return refused(verdict, lacks if heads and lacks else largest.reason, head_seen=head_seen)


def _left_out(
    by_series: Mapping[str, Sequence[LeftOutImage]], analysed: Collection[str]
) -> tuple[LeftOut, ...]:
    """Counts by reason of the images left out of the series in ``analysed``."""
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
    selection: Selection,
    reading: StudyReading,
    verdicts: tuple[SeriesVerdict, ...],
    decision: StudyDecision,
    at: datetime,
    clock: _Clock,
) -> Analysis:
    """An analysis that ends by what the network decided, unless a part of the head was not looked at."""
    stacks, images = _judged(reading, decision)
    verdicts = tuple(_as_analysed(verdict, selection, stacks, decision) for verdict in verdicts)
    outcome, triage, reasons = decision.outcome, decision.triage, decision.reasons
    objection = part_not_analysed(
        stacks, _lost(selection, verdicts, images, stacks), selection.rule.max_gap_mm
    )
    if outcome is Outcome.ABSENT and objection is not None:
        outcome, triage, reasons = Outcome.UNDETERMINED, Triage.PRIORITY, (objection,)
    left_out = _left_out(images, images)
    return replace(
        _unanalysed(selection, verdicts, (outcome, reasons), at, clock),
        triage=triage,
        predictions=decision.predictions,
        findings=decision.findings,
        series=decision.series,
        degradations=(
            *not_looked_at(verdicts),
            *left_out_sentences(left_out),
            *_apart(stacks),
            *(f"series {_uid(built)}, {text}" for built in stacks for text in _defects(built)),
            *decision.degradations,
        ),
        timings_s={**clock.timings_s, **decision.timings_s},
        left_out=left_out,
    )


def _judged(
    reading: StudyReading, decision: StudyDecision
) -> tuple[list[BuiltVolume], dict[str, list[LeftOutImage]]]:
    """The stacks that were analysed, and by series what was left out of those, refused stacks among it."""
    rows = {(row.series_instance_uid, row.stack): row for row in decision.series}
    judged = [(rows[_uid(built), built.volume.stack], built) for built in reading.stacks]
    stacks = [built for row, built in judged if row.outcome.analysed]
    uids = {_uid(built) for built in stacks}
    images = {uid: list(left_out) for uid, left_out in reading.left_out.items() if uid in uids}
    for row, built in judged:
        if not row.outcome.analysed and row.series_instance_uid in uids:
            images[row.series_instance_uid] += [LeftOutImage(image, row.reason) for image in built.images]
    return stacks, images


def _lost(
    selection: Selection,
    verdicts: Sequence[SeriesVerdict],
    left_out: Mapping[str, Sequence[LeftOutImage]],
    stacks: Sequence[BuiltVolume],
) -> tuple[LeftOutImage, ...]:
    """Images of the head without which too much of it is not seen, of analysed series and of others."""
    volumes = [built.volume for built in stacks]
    rule = selection.rule

    def of_series(reasons: Mapping[str, Reason]) -> tuple[LeftOutImage, ...]:
        series = (*selection.series, *selection.others)
        return beside(
            [(s, reasons[s.series_instance_uid]) for s in series if s.series_instance_uid in reasons], volumes
        )

    by_site = {s.series_instance_uid for s in selection.others if s.withheld}
    withheld = {v.series_instance_uid: v.reason for v in verdicts if v.series_instance_uid in by_site}
    by_rank = {uid: reason for uid, reason in outranked(verdicts).items() if uid not in by_site}
    images = not_covered(chain.from_iterable(left_out.values()), volumes)
    return (
        *hiding(images, volumes, rule.max_gap_mm),
        *hiding(of_series(lacking(verdicts)), volumes, rule.max_gap_mm),
        # Those that the site's rules alone keep from being analysed.
        *hiding(of_series(withheld), volumes, rule.max_gap_mm),
        # A fifth series often covers a little more, of air or neck: it counts where that is enough alone.
        *hiding(of_series(by_rank), volumes, rule.min_covered_mm),
    )


def _may_show_a_head(series: ReadSeries) -> bool:
    """Whether a series that is not taken was outranked, is withheld by the site, or lacks something."""
    refusal = series.refusal
    return refusal is None or series.withheld or refusal.reason.code in LACKING


def _uid(built: BuiltVolume) -> str:
    return built.volume.series_instance_uid


def _defects(built: BuiltVolume) -> tuple[str, ...]:
    missing = (built.missing.text,) if built.missing is not None else ()
    return (*missing, *built.oddities)


def _apart(stacks: Sequence[BuiltVolume]) -> tuple[str, ...]:
    """A sentence per series of several stacks: what is judged stack by stack has edges inside the head."""
    texts = []
    for uid in dict.fromkeys(map(_uid, stacks)):
        slices = [len(built.images) for built in stacks if _uid(built) == uid]
        if len(slices) > 1:
            counts = " and ".join(map(str, slices))
            texts.append(f"{len(slices)} stacks of series {uid} ({counts} slices) were not analysed as one")
    return tuple(texts)


def _as_analysed(
    verdict: SeriesVerdict, selection: Selection, stacks: Sequence[BuiltVolume], decision: StudyDecision
) -> SeriesVerdict:
    """A verdict with the images that were analysed; refused where the network would judge no stack."""
    uid = verdict.series_instance_uid
    own = [built for built in stacks if _uid(built) == uid]
    if own and verdict.taken:
        (series,) = (series for series in selection.series if series.series_instance_uid == uid)
        text = describe_taken(series, sum(len(built.images) for built in own), len(own))
        return replace(verdict, reason=Reason(ReasonCode.ELIGIBLE, text))
    reason = next((row.reason for row in decision.series if row.series_instance_uid == uid), None)
    return refused(verdict, reason)


def failure(selection: Selection, reason: Reason, at: datetime) -> Analysis:
    """The analysis of a study that could not be analysed by our fault; the outcome is ``failed``."""
    return _unanalysed(
        selection, selection.verdicts, (Outcome.FAILED, (reason,)), at, _Clock(selection.timings_s)
    )
