"""Selects the series of a study to analyse, by their headers."""

from dataclasses import replace
from typing import Final

from neurotriage.core.values import Reason, ReasonCode, SeriesVerdict, StudyManifest
from neurotriage.core.wording import counted
from worker.eligibility import EligibilityRule
from worker.imaging import read_images
from worker.selection.body import BodyPart, body_part
from worker.selection.facts import SeriesFacts, facts_of
from worker.selection.ranking import MAX_SERIES, ranked
from worker.selection.series import ReadSeries, judge

# Results copy from the headers of analysed images. Those beyond so many images are read again, or the headers
# of a large study would fill the memory: 2048 are about 100 MB.
MAX_KEPT_HEADERS: Final = 2048


def choose(
    study: StudyManifest, rule: EligibilityRule
) -> tuple[tuple[SeriesVerdict, ...], tuple[ReadSeries, ...], tuple[ReadSeries, ...]]:
    """Judge the series of a study by their headers alone. Does not raise for malformed input.

    A verdict for each series, in the manifest's order; those ``taken``, the best first; the others.
    """
    all_series: list[ReadSeries] = []
    left = MAX_KEPT_HEADERS
    for manifest in study.series:
        images = read_images(manifest, max_headers=left)
        left -= len(images)
        all_series.append(judge(manifest.series_instance_uid, images, rule))
    order = ranked([(series.facts, series.plan) for series in all_series if series.refusal is None])
    ranks = {id(plan): rank for rank, plan in enumerate(order)}
    verdicts = tuple(_verdict_of(series, ranks.get(id(series.plan), MAX_SERIES)) for series in all_series)
    taken = [series for series in all_series if ranks.get(id(series.plan), MAX_SERIES) < MAX_SERIES]
    others = tuple(series for series in all_series if ranks.get(id(series.plan), MAX_SERIES) >= MAX_SERIES)
    return verdicts, tuple(sorted(taken, key=lambda series: ranks[id(series.plan)])), others


def describe(study: StudyManifest, reason: Reason) -> tuple[SeriesVerdict, ...]:
    """A refusal of each series for ``reason``, with what its headers say of it. Plans no stacks."""
    return tuple(
        _refused(manifest.series_instance_uid, facts_of(read_images(manifest, max_headers=0)), reason)
        for manifest in study.series
    )


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


def _verdict(series: ReadSeries, reason: Reason, evidence: str) -> SeriesVerdict:
    return replace(
        _refused(series.series_instance_uid, series.facts, reason),
        taken=reason.code is ReasonCode.ELIGIBLE,
        evidence=evidence,
    )


def _refused(series_instance_uid: str, facts: SeriesFacts, reason: Reason) -> SeriesVerdict:
    return SeriesVerdict(
        series_instance_uid=series_instance_uid,
        modality=facts.modality,
        description=facts.texts.get("SeriesDescription", ""),
        taken=False,
        reason=reason,
        evidence="",
        head_meant=facts.modality in ("CT", "MR") and body_part(facts)[0] is BodyPart.HEAD,
    )
