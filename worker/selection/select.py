"""Which series of a study are analysed, and what a study without one ends as."""

from neurotriage.core.values import Reason, ReasonCode, SeriesVerdict, StudyManifest
from neurotriage.core.wording import counted
from worker.eligibility import EligibilityRule
from worker.imaging import read_images
from worker.selection.body import BodyPart, body_part
from worker.selection.ranking import MAX_SERIES, ranked
from worker.selection.series import ReadSeries, judge


def select(study: StudyManifest, rule: EligibilityRule) -> tuple[SeriesVerdict, ...]:
    """A verdict for each series, in the manifest's order, by its headers alone.

    Series with ``taken`` are to be built, looked at and analysed. Never raises for bad input.
    """
    return choose(study, rule)[0]


def choose(
    study: StudyManifest, rule: EligibilityRule
) -> tuple[tuple[SeriesVerdict, ...], tuple[ReadSeries, ...], tuple[ReadSeries, ...]]:
    """The same, with the series that are taken, the best first, and the others."""
    series = [judge(one.series_instance_uid, read_images(one), rule) for one in study.series]
    order = ranked([(one.facts, one.plan) for one in series if one.refusal is None])
    places = {id(plan): place for place, plan in enumerate(order)}
    verdicts = tuple(_verdict_of(one, places.get(id(one.plan), MAX_SERIES)) for one in series)
    taken = [one for one in series if places.get(id(one.plan), MAX_SERIES) < MAX_SERIES]
    others = tuple(one for one in series if places.get(id(one.plan), MAX_SERIES) >= MAX_SERIES)
    return verdicts, tuple(sorted(taken, key=lambda one: places[id(one.plan)])), others


def _verdict_of(series: ReadSeries, place: int) -> SeriesVerdict:
    if series.refusal is not None:
        return _verdict(series, series.refusal.reason, series.refusal.evidence)
    if place < MAX_SERIES:
        _, evidence = body_part(series.facts)
        reason = Reason(
            ReasonCode.ELIGIBLE, said_of(series, len(series.plan.images), len(series.plan.stacks))
        )
        return _verdict(series, reason, evidence or "no tag names a part of the body")
    text = f"eligible, but {MAX_SERIES} series of the study tell more"
    return _verdict(series, Reason(ReasonCode.LOWER_RANK, text), f"{series.facts.sequence} series")


def said_of(series: ReadSeries, images: int, stacks: int) -> str:
    """What is analysed of a series: ``30 CT images (CT)``, ``28 of 56 MR images (T1) in 2 stacks``."""
    came = len(series.images)
    noun = f"{series.facts.modality} image"
    count = counted(images, noun) if images == came else f"{images} of {counted(came, noun)}"
    apart = f" in {stacks} stacks" if stacks > 1 else ""
    return f"{count} ({series.facts.sequence}){apart}"


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
