"""Selects the series of a study to analyse, by their headers."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Final

from neurotriage.core.values import Reason, ReasonCode, SeriesVerdict, StudyManifest
from neurotriage.core.wording import counted
from worker.eligibility import EligibilityRule
from worker.imaging import read_images
from worker.selection.body import BodyPart, body_part
from worker.selection.decide import decided
from worker.selection.facts import SeriesFacts, facts_of
from worker.selection.ranking import MAX_SERIES, ranked
from worker.selection.series import ReadSeries, judge
from worker.selection.site_rules import BUILT_IN_ALONE, SiteRules

# Results copy from the headers of analysed images. Those beyond so many images are read again, or the headers
# of a large study would fill the memory: 2048 are about 100 MB.
MAX_KEPT_HEADERS: Final = 2048


@dataclass(frozen=True, slots=True)
class Choice:
    """Which series of a study are analysed."""

    verdicts: tuple[SeriesVerdict, ...]  # on each series, in the manifest's order
    taken: tuple[ReadSeries, ...]  # the best first
    others: tuple[ReadSeries, ...]


def choose(
    study: StudyManifest, rule: EligibilityRule, site: SiteRules = BUILT_IN_ALONE, peer: str = ""
) -> Choice:
    """Judge the series of a study by their headers alone. Does not raise for malformed input.

    ``peer``: calling AE title of the sender, empty where it is not known.
    """
    return choose_among(read_series(study, rule, site.tags), site, peer)


def read_series(
    study: StudyManifest, rule: EligibilityRule, tags: AbstractSet[int] = frozenset()
) -> tuple[ReadSeries, ...]:
    """The series of a study as the built-in rules judge them, with the values of ``tags`` for others."""
    all_series: list[ReadSeries] = []
    left = MAX_KEPT_HEADERS
    for manifest in study.series:
        images = read_images(manifest, max_headers=left, tags=tags)
        left -= len(images)
        all_series.append(judge(manifest.series_instance_uid, images, rule))
    return tuple(all_series)


def choose_among(judged: Sequence[ReadSeries], site: SiteRules, peer: str) -> Choice:
    """As ``choose``, of series that were read with the tags of ``site``."""
    all_series = [decided(series, site, peer) for series in judged]
    order = ranked(
        [(series.facts, series.plan, series.preference) for series in all_series if series.refusal is None]
    )
    ranks = {id(plan): rank for rank, plan in enumerate(order)}
    verdicts = tuple(_verdict_of(series, ranks.get(id(series.plan), MAX_SERIES)) for series in all_series)
    taken = [series for series in all_series if ranks.get(id(series.plan), MAX_SERIES) < MAX_SERIES]
    by_built_in = ranked([(series.facts, series.plan, None) for series in judged if series.refusal is None])
    kept_out = {id(plan) for plan in by_built_in[:MAX_SERIES]}
    others = tuple(
        replace(series, withheld=series.withheld or id(series.plan) in kept_out)
        for series in all_series
        if ranks.get(id(series.plan), MAX_SERIES) >= MAX_SERIES
    )
    return Choice(verdicts, tuple(sorted(taken, key=lambda series: ranks[id(series.plan)])), others)


def describe(study: StudyManifest, reason: Reason) -> tuple[SeriesVerdict, ...]:
    """A refusal of each series for ``reason``, with what its headers say of it. Plans no stacks."""
    return tuple(
        _refused(manifest.series_instance_uid, facts_of(read_images(manifest, max_headers=0)), reason)
        for manifest in study.series
    )


def _verdict_of(series: ReadSeries, rank: int) -> SeriesVerdict:
    if series.refusal is not None:
        return _verdict(series, series.refusal.reason, series.refusal.evidence, series.rule)
    if rank < MAX_SERIES:
        _, evidence = body_part(series.facts)
        reason = Reason(
            ReasonCode.ELIGIBLE, describe_taken(series, len(series.plan.images), len(series.plan.stacks))
        )
        evidence = series.rule_told or evidence or "no tag names a part of the body"
        return _verdict(series, reason, evidence, series.rule)
    text = f"eligible, but {MAX_SERIES} series of the study tell more"
    return _verdict(series, Reason(ReasonCode.LOWER_RANK, text), f"{series.facts.sequence} series")


def describe_taken(series: ReadSeries, images: int, stacks: int) -> str:
    """The analysed images of a series: ``30 CT images (CT)``, ``28 of 56 MR images (T1) in 2 stacks``."""
    received = len(series.images)
    noun = f"{series.facts.modality} image"
    count = counted(images, noun) if images == received else f"{images} of {counted(received, noun)}"
    in_stacks = f" in {stacks} stacks" if stacks > 1 else ""
    return f"{count} ({series.facts.sequence}){in_stacks}"


def _verdict(series: ReadSeries, reason: Reason, evidence: str, rule: str = "") -> SeriesVerdict:
    return replace(
        _refused(series.series_instance_uid, series.facts, reason),
        taken=reason.code is ReasonCode.ELIGIBLE,
        evidence=evidence,
        rule=rule,
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
