"""Selected series to volumes: which stacks are analysed, which lack too much, and what is left out."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from neurotriage.core.errors import Refused
from neurotriage.core.values import LeftOut, Reason, ReasonCode, SeriesVerdict
from neurotriage.core.volume import Volume
from neurotriage.core.wording import counted
from worker.eligibility import EligibilityRule, Extent, refused_by_pixels, too_coarse, too_few_slices
from worker.imaging import MAX_VOXELS, BuiltVolume, LeftOutImage, build_stack, extent, pixel_facts
from worker.selection import ReadSeries

# Each image that cannot be read says why in its own figures; those of one cause are one reason.
_FIGURES: Final = re.compile(r"\d+(\.\d+)?")
_ONE_REASON: Final = frozenset(
    {ReasonCode.UNREADABLE_PIXELS, ReasonCode.NOT_DICOM, ReasonCode.NO_GEOMETRY, ReasonCode.SAME_PLACE}
)


@dataclass(frozen=True, slots=True)
class ShortStack:
    """A stack that may show a head, but lacks too much for an answer."""

    built: BuiltVolume
    lacks: Reason


@dataclass(frozen=True, slots=True)
class SeriesReading:
    """A selected series after decoding: the stacks to analyse, and what became of the rest."""

    series: ReadSeries
    stacks: tuple[BuiltVolume, ...]  # to analyse
    short: tuple[ShortStack, ...]  # only where there is no stack to analyse
    refusal: Reason | None  # only where there is neither: why the largest stack is not analysed
    left_out: tuple[LeftOutImage, ...]

    def verdict(self, verdict: SeriesVerdict, *, others_decide: bool) -> SeriesVerdict:
        """The verdict by the headers, turned into a refusal where nothing of the series is analysed.

        ``others_decide``: another series has a stack to analyse. Where none has, a network looks at the short
        stacks, and the series ends by what it says.
        """
        if self.short and others_decide:
            return refused(verdict, self.short[0].lacks)
        return refused(verdict, self.refusal)


@dataclass(frozen=True, slots=True)
class StudyReading:
    """All selected series of a study, decoded."""

    series: tuple[SeriesReading, ...]

    @property
    def stacks(self) -> tuple[BuiltVolume, ...]:
        """The stacks to analyse, of all series."""
        return tuple(built for series in self.series for built in series.stacks)

    @property
    def volumes(self) -> tuple[Volume, ...]:
        """The volumes that a network looks at; where there is nothing to analyse, what may show a head."""
        short = (stack.built for series in self.series for stack in series.short)
        return tuple(built.volume for built in self.stacks or short)

    @property
    def left_out(self) -> Mapping[str, tuple[LeftOutImage, ...]]:
        """By Series Instance UID."""
        return {series.series.series_instance_uid: series.left_out for series in self.series}

    def lacks(self, series_instance_uid: str, stack: int) -> Reason | None:
        """Why that stack is too short, or None."""
        return next(
            (
                short.lacks
                for series in self.series
                for short in series.short
                if (short.built.volume.series_instance_uid, short.built.volume.stack)
                == (series_instance_uid, stack)
            ),
            None,
        )

    def verdicts(self, verdicts: Sequence[SeriesVerdict]) -> tuple[SeriesVerdict, ...]:
        """The verdicts by the headers, with the series refused of which nothing is analysed."""
        by_uid = {series.series.series_instance_uid: series for series in self.series}
        others_decide = bool(self.stacks)
        return tuple(
            by_uid[verdict.series_instance_uid].verdict(verdict, others_decide=others_decide)
            if verdict.series_instance_uid in by_uid
            else verdict
            for verdict in verdicts
        )


def read_study(
    selected: Sequence[ReadSeries], modalities: frozenset[str], rule: EligibilityRule
) -> StudyReading:
    """Decode every stack of the selected series. Never raises for bad input.

    ``modalities``: those for which there is a model.
    """
    most_voxels = MAX_VOXELS // max(1, sum(len(series.plan.stacks) for series in selected))
    return StudyReading(tuple(_read(series, modalities, rule, most_voxels) for series in selected))


def _read(
    series: ReadSeries, modalities: frozenset[str], rule: EligibilityRule, most_voxels: int
) -> SeriesReading:
    stacks: list[BuiltVolume] = []
    short: list[ShortStack] = []
    refusal: Reason | None = None
    left_out = list(series.plan.left_out)
    for number, images in enumerate(series.plan.stacks):
        try:
            built = build_stack(series.plan, number, series.images, most_voxels)
        except Refused as error:
            refusal = refusal or error.reason
            left_out += [LeftOutImage(image, error.reason) for image in images]
            continue
        left_out += built.left_out
        objection, lacks = _judged(built, len(images), modalities, rule)
        if objection is not None:
            refusal = refusal or objection
            left_out += [LeftOutImage(image, objection) for image in built.images]
        elif lacks is not None:
            short.append(ShortStack(built, lacks))
        else:
            stacks.append(built)
    if stacks:
        left_out += [LeftOutImage(image, stack.lacks) for stack in short for image in stack.built.images]
        short = []
    if stacks or short:
        refusal = None
    return SeriesReading(
        series,
        tuple(stacks),
        tuple(ShortStack(stack.built, _with_others(stack.lacks, series, left_out)) for stack in short),
        None if refusal is None else _with_others(refusal, series, left_out),
        tuple(left_out),
    )


def _judged(
    built: BuiltVolume, planned: int, modalities: frozenset[str], rule: EligibilityRule
) -> tuple[Reason | None, Reason | None]:
    """The objection against a stack of ``planned`` images, and what it lacks for an answer; or None."""
    objection = refused_by_pixels(pixel_facts(built.volume), rule)
    size = extent(built.volume)
    lacks = _too_little(built, size, rule) or too_coarse(size, rule)
    if lacks is not None and 2 * len(built.images) < planned:
        lacks = _mostly(built.left_out, planned)
        objection = objection and lacks  # what is left may be the vertex
    if objection is None and built.volume.modality not in modalities:
        objection = lacks or _no_model(built.volume)
    return objection, lacks


def _too_little(built: BuiltVolume, size: Extent, rule: EligibilityRule) -> Reason | None:
    """Too few slices, or too little of a head: MISSING_IMAGES where images were not received."""
    lacks = too_few_slices(size, rule)
    if lacks is None or built.missing is None:
        return lacks
    return Reason(
        ReasonCode.MISSING_IMAGES, f"{built.missing.text}; what is here is too little: {lacks.text}"
    )


def _mostly(left_out: Sequence[LeftOutImage], count: int) -> Reason:
    """Why most images of a stack are not in its volume."""
    (commonest, *_) = left_out_by_reason("", left_out)
    verb = "decoded" if commonest.reason.code is ReasonCode.UNREADABLE_PIXELS else "looked at"
    text = f"{commonest.count} of {counted(count, 'image')} could not be {verb}: {commonest.reason.text}"
    return Reason(commonest.reason.code, text)


def refused(verdict: SeriesVerdict, reason: Reason | None, *, head_seen: bool = False) -> SeriesVerdict:
    """The verdict turned into a refusal, if there is a reason and it was not refused before."""
    if reason is None or not verdict.taken:
        return verdict
    return replace(verdict, taken=False, reason=reason, evidence="the pixels", head_seen=head_seen, rule="")


def left_out_by_reason(series_instance_uid: str, images: Iterable[LeftOutImage]) -> tuple[LeftOut, ...]:
    """The images left out of a series, counted by reason, the most frequent first."""
    by_cause: dict[tuple[ReasonCode, str], Counter[Reason]] = {}
    for item in images:
        by_cause.setdefault(_cause(item.reason), Counter())[item.reason] += 1
    together = Counter(
        {min(counts, key=lambda reason: reason.text): counts.total() for counts in by_cause.values()}
    )
    return tuple(
        LeftOut(series_instance_uid, reason, count)
        for reason, count in sorted(together.items(), key=lambda item: (-item[1], item[0].code, item[0].text))
    )


def _cause(reason: Reason) -> tuple[ReasonCode, str]:
    """What reasons that differ in their figures alone have in common."""
    return reason.code, _FIGURES.sub("0", reason.text) if reason.code in _ONE_REASON else reason.text


def _with_others(reason: Reason, series: ReadSeries, left_out: Sequence[LeftOutImage]) -> Reason:
    """A reason against a stack, with what became of the other images of its series."""
    slices = [item for item in left_out if not item.alien or item.reason.code is ReasonCode.SAME_PLACE]
    others = left_out_by_reason(series.series_instance_uid, slices)
    if not others or reason in [item.reason for item in others]:
        return reason
    words = "; ".join(f"{counted(item.count, 'image')} left out: {item.reason.text}" for item in others)
    return Reason(reason.code, f"{reason.text} (of {counted(len(series.images), 'image')}, {words})")


def _no_model(volume: Volume) -> Reason:
    kind = volume.modality
    return Reason(ReasonCode.NO_MODEL, f"a head {kind} series, but no {kind} model is installed")
