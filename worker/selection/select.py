"""Selects the series of a study to analyse, and the outcome of a study without one."""

from collections.abc import Sequence
from typing import Final

from neurotriage.core.values import Outcome, Reason, ReasonCode, SeriesVerdict, StudyManifest
from neurotriage.core.wording import counted
from worker.imaging import read_images
from worker.selection.body import BodyPart, body_part
from worker.selection.ranking import MAX_SERIES, ranked
from worker.selection.series import ReadSeries, judge

# A refusal for one of these says something of a study in which nothing could be analysed, whatever the
# header speaks of ...
_OUTCOMES: Final = {
    ReasonCode.NO_CALIBRATION: Outcome.UNDETERMINED,
    ReasonCode.HEADER_CONTRADICTS_PIXELS: Outcome.UNDETERMINED,
    ReasonCode.MISSING_IMAGES: Outcome.INCOMPLETE,
    ReasonCode.NOISE: Outcome.POOR_QUALITY,
}
# ... and these only where it speaks of a head, or the pixels show one: one slice of an unnamed part is no
# head of poor quality, and what the model has never seen the like of may be a knee.
_OUTCOMES_OF_A_HEAD: Final = {
    ReasonCode.TOO_FEW_SLICES: Outcome.POOR_QUALITY,
    ReasonCode.TOO_COARSE: Outcome.POOR_QUALITY,
    ReasonCode.UNREADABLE_PIXELS: Outcome.POOR_QUALITY,
    ReasonCode.NO_GEOMETRY: Outcome.POOR_QUALITY,
    ReasonCode.INCONSISTENT_GEOMETRY: Outcome.POOR_QUALITY,
    ReasonCode.SAME_PLACE: Outcome.POOR_QUALITY,
    ReasonCode.OUT_OF_DISTRIBUTION: Outcome.POOR_QUALITY,
}
# A series refused for one of these may show a slice of the head that nothing else shows.
_LACKING: Final = frozenset({
    ReasonCode.TOO_FEW_SLICES, ReasonCode.MISSING_IMAGES, ReasonCode.UNREADABLE_PIXELS,
    ReasonCode.NO_CALIBRATION, ReasonCode.NO_GEOMETRY, ReasonCode.INCONSISTENT_GEOMETRY,
    ReasonCode.SAME_PLACE,
})  # fmt: skip
_URGENCY: Final = (Outcome.UNDETERMINED, Outcome.INCOMPLETE, Outcome.POOR_QUALITY)


def select(study: StudyManifest) -> tuple[SeriesVerdict, ...]:
    """A verdict for each series, in the manifest's order, by its headers alone.

    Series with ``taken`` are to be analysed. Does not raise for malformed input.
    """
    return choose(study)[0]


def choose(
    study: StudyManifest,
) -> tuple[tuple[SeriesVerdict, ...], tuple[ReadSeries, ...], tuple[ReadSeries, ...]]:
    """The verdicts of ``select``; the series to analyse, the best first; the other series."""
    all_series = [judge(manifest.series_instance_uid, read_images(manifest)) for manifest in study.series]
    order = ranked([(series.facts, series.plan) for series in all_series if series.refusal is None])
    ranks = {id(plan): rank for rank, plan in enumerate(order)}
    verdicts = tuple(_verdict_of(series, ranks.get(id(series.plan), MAX_SERIES)) for series in all_series)
    taken = [series for series in all_series if ranks.get(id(series.plan), MAX_SERIES) < MAX_SERIES]
    others = tuple(series for series in all_series if ranks.get(id(series.plan), MAX_SERIES) >= MAX_SERIES)
    return verdicts, tuple(sorted(taken, key=lambda series: ranks[id(series.plan)])), others


def _verdict_of(series: ReadSeries, rank: int) -> SeriesVerdict:
    if series.refusal is not None:
        return _verdict(series, series.refusal.reason, series.refusal.evidence)
    if rank < MAX_SERIES:
        _, evidence = body_part(series.facts)
        reason = Reason(
            ReasonCode.ELIGIBLE, describe_taken(series, len(series.plan.images), len(series.plan.stacks))
        )
        return _verdict(series, reason, evidence or "no tag names a part of the body")
    text = f"eligible, but {MAX_SERIES} series of the study tell more"
    return _verdict(series, Reason(ReasonCode.LOWER_RANK, text), f"{series.facts.sequence} series")


def describe_taken(series: ReadSeries, images: int, stacks: int) -> str:
    """The analysed images of a series: ``30 CT images (CT)``, ``28 of 56 MR images (T1) in 2 stacks``."""
    received = len(series.images)
    noun = f"{series.facts.modality} image"
    count = counted(images, noun) if images == received else f"{images} of {counted(received, noun)}"
    in_stacks = f" in {stacks} stacks" if stacks > 1 else ""
    return f"{count} ({series.facts.sequence}){in_stacks}"


def outcome_of_refusals(verdicts: Sequence[SeriesVerdict]) -> tuple[Outcome, tuple[Reason, ...]]:
    """What a study ends as when no series of it could be analysed.

    Of several the gravest counts: undetermined, incomplete, poor quality, not eligible. The reasons are
    those of the series that decided; for a study that is not eligible, of all its series.
    """
    found = [(_outcome(verdict), verdict.reason) for verdict in verdicts]
    for outcome in _URGENCY:
        reasons = [reason for own, reason in found if own is outcome]
        if reasons:
            return outcome, _without_repeats(reasons)
    reasons = [reason for _, reason in found]
    # A head that no model can read is a head all the same.
    without_model = [reason for reason in reasons if reason.code is ReasonCode.NO_MODEL]
    if without_model:
        return Outcome.NOT_ELIGIBLE, _without_repeats(without_model)
    none = Reason(ReasonCode.NO_HEAD_SERIES, "the study has no CT or MR series of a head to analyse")
    return Outcome.NOT_ELIGIBLE, (none, *_without_repeats(reasons))


def not_looked_at(verdicts: Sequence[SeriesVerdict]) -> tuple[str, ...]:
    """Sentences on the series that may show a head, but not whole or not well enough to be analysed.

    Other series decide such a study; an answer without a word of these would be a silent negative.
    """
    return tuple(
        f"series {verdict.series_instance_uid} was not looked at: {verdict.reason.text}"
        for verdict in verdicts
        if not verdict.taken and _outcome(verdict) is not Outcome.NOT_ELIGIBLE
    )


def lacking(verdicts: Sequence[SeriesVerdict]) -> dict[str, Reason]:
    """By UID, why series that may show a head were refused: for what they lack, not for what they show."""
    return {
        verdict.series_instance_uid: verdict.reason
        for verdict in verdicts
        if not verdict.taken
        and verdict.reason.code in _LACKING
        and _outcome(verdict) is not Outcome.NOT_ELIGIBLE
    }


def _outcome(verdict: SeriesVerdict) -> Outcome:
    outcome = _OUTCOMES.get(verdict.reason.code)
    if outcome is None and (verdict.head_meant or verdict.head_seen):
        outcome = _OUTCOMES_OF_A_HEAD.get(verdict.reason.code)
    return outcome or Outcome.NOT_ELIGIBLE


def _without_repeats(reasons: Sequence[Reason]) -> tuple[Reason, ...]:
    return tuple(dict.fromkeys(reasons))


def _verdict(series: ReadSeries, reason: Reason, evidence: str) -> SeriesVerdict:
    facts = series.facts
    return SeriesVerdict(
        series_instance_uid=series.series_instance_uid,
        modality=facts.modality,
        description=facts.texts.get("SeriesDescription", ""),
        taken=reason.code is ReasonCode.ELIGIBLE,
        reason=reason,
        evidence=evidence,
        head_meant=facts.modality in ("CT", "MR") and body_part(facts)[0] is BodyPart.HEAD,
    )
