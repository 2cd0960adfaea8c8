"""Judges a series: its images one by one, the stacks of the remaining images, and the series as a whole."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from neurotriage.core.values import Reason, ReasonCode
from worker.eligibility import EligibilityRule
from worker.imaging import Image, LeftOutImage, SeriesPlan, plan
from worker.selection.facts import SeriesFacts, facts_of
from worker.selection.rules import (
    ALIEN,
    TOGETHER,
    Refusal,
    final_refusal_of,
    refusal_of,
    refusal_of_image,
)

# Positions of images that state the kind of acquisition, as a share of the positions of those that do not.
_ENOUGH_TO_NAME_IT = 0.5


@dataclass(frozen=True, slots=True)
class ReadSeries:
    """A series as read from its headers."""

    series_instance_uid: str
    images: tuple[Image, ...]  # all that were received
    facts: SeriesFacts  # of the images to analyse, or of all images where there are none
    plan: SeriesPlan
    refusal: Refusal | None  # the reason for which nothing of it is analysed
    final: Refusal | None = None  # the one that no rule of the site overrules
    rule: str = ""  # the rule of the site that decided
    rule_told: str = ""  # that rule, with the attributes it looked at
    preference: int | None = None  # the place of the rule that prefers it, from 0
    withheld: bool = False  # the site alone refuses it, or ranks others before it: the built-in rules take it


def judge(series_instance_uid: str, images: Sequence[Image], rule: EligibilityRule) -> ReadSeries:
    """The stacks of a series that may be analysed, or the ``refusal`` where none may.

    ``images``: all images of the series in any order. Does not raise for malformed images.
    """
    refusals = _refusals(images)
    kept = [image for image, refusal in zip(images, refusals, strict=True) if refusal is None]
    turned_away = tuple(
        LeftOutImage(image, refusal.reason, refusal.reason.code in ALIEN)
        for image, refusal in zip(images, refusals, strict=True)
        if refusal is not None
    )
    named = _named_together(kept, images, refusals)
    if named is not None or not kept:
        nothing = SeriesPlan(series_instance_uid, (), turned_away)
        refusal = named or _commonest(refusals)
        return ReadSeries(series_instance_uid, tuple(images), facts_of(images), nothing, refusal, refusal)
    planned = plan(series_instance_uid, kept, rule)
    planned = replace(planned, left_out=(*turned_away, *planned.left_out))
    if not planned.stacks:
        last = planned.left_out[-1].reason
        refusal = Refusal(last, "(0020,0032) ImagePositionPatient")
        return ReadSeries(series_instance_uid, tuple(images), facts_of(kept), planned, refusal, refusal)
    facts = replace(
        facts_of(planned.images),
        places=len(planned.stacks[0]),
        passes=planned.passes,
        keyed=planned.keyed,
    )
    return ReadSeries(
        series_instance_uid, tuple(images), facts, planned, refusal_of(facts), final_refusal_of(facts)
    )


def _refusals(images: Sequence[Image]) -> list[Refusal | None]:
    """The refusal of each image; images with the same values are judged once."""
    known: dict[object, Refusal | None] = {}
    refusals = []
    for image in images:
        of = image.of
        values = (
            of.sop_class_uid, of.modality, of.photometric, of.colour, of.has_pixels, of.own_result,
            image.types, image.b_value, image.uncalibrated, image.geometry is None, image.problem,
        )  # fmt: skip
        if values not in known:
            known[values] = refusal_of_image(replace(facts_of([image]), texts={}, temporal_positions=1))
        refusals.append(known[values])
    return refusals


def _named_together(
    kept: Sequence[Image], images: Sequence[Image], refusals: Sequence[Refusal | None]
) -> Refusal | None:
    """The refusal of a whole acquisition, of which only some images state the kind."""
    for refusal in refusals:
        if refusal is None or refusal.reason.code not in TOGETHER:
            continue
        same = [
            image
            for image, own in zip(images, refusals, strict=True)
            if own is not None and own.reason.code is refusal.reason.code
        ]
        if len(_places(same)) >= _ENOUGH_TO_NAME_IT * len(_places(kept)):
            return refusal
    return None


def _places(images: Sequence[Image]) -> set[tuple[float, ...]]:
    return {
        tuple(round(part, 1) for part in image.place.position_mm)
        for image in images
        if image.geometry is not None
    }


def _commonest(refusals: Sequence[Refusal | None]) -> Refusal:
    """The most frequent refusal of the images; of equally frequent reasons the first by name."""
    known = [refusal for refusal in refusals if refusal is not None]
    if not known:
        return Refusal(Reason(ReasonCode.NO_GEOMETRY, "the series has no image"), "")
    counts = Counter(refusal.reason.code for refusal in known)
    code = min(counts, key=lambda code: (-counts[code], code))
    return min((r for r in known if r.reason.code is code), key=lambda r: (r.evidence, r.reason.text))
