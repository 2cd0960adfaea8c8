"""Selected series to volumes: what each stack ends as before a model sees it, and what is left out."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from neurotriage.core.errors import Refused
from neurotriage.core.values import LeftOut, Reason, ReasonCode, SeriesVerdict
from neurotriage.core.volume import Volume
from neurotriage.core.wording import counted
from worker.imaging import (
    MAX_VOXELS,
    BuiltVolume,
    Image,
    LeftOutImage,
    Slab,
    build_stack,
    covered,
    judge_extent,
    judge_pixels,
    slab_of_volume,
)
from worker.selection import ReadSeries

# Each image that cannot be read says why in its own figures; together they are one reason.
_ONE_REASON: Final = frozenset(
    {ReasonCode.UNREADABLE_PIXELS, ReasonCode.NOT_DICOM, ReasonCode.NO_GEOMETRY, ReasonCode.SAME_PLACE}
)


@dataclass(frozen=True, slots=True)
class Read:
    """What decoding left: volumes to analyse, volumes that lack too much for an answer, and why."""

    verdicts: tuple[SeriesVerdict, ...]
    stacks: tuple[BuiltVolume, ...]  # to analyse
    short: tuple[BuiltVolume, ...]
    lacking: Mapping[tuple[str, int], Reason]  # by series and stack: what a volume lacks
    left_out: Mapping[str, tuple[LeftOutImage, ...]]  # by series

    @property
    def volumes(self) -> tuple[Volume, ...]:
        """What a model looks at; where there is nothing to analyse, what may still show a head."""
        return tuple(built.volume for built in self.stacks or self.short)


def read_all(
    series: Sequence[ReadSeries], verdicts: Sequence[SeriesVerdict], modalities: frozenset[str]
) -> Read:
    """Decode every stack of the series. Never raises for bad input."""
    by_uid = {verdict.series_instance_uid: verdict for verdict in verdicts}
    stacks: list[BuiltVolume] = []
    short: list[BuiltVolume] = []
    lacking: dict[tuple[str, int], Reason] = {}
    left_out: dict[str, tuple[LeftOutImage, ...]] = {}
    most_voxels = MAX_VOXELS // max(1, sum(len(one.plan.stacks) for one in series))
    for one in series:
        uid = one.series_instance_uid
        own = _read(one, modalities, most_voxels)
        stacks += own.good
        if own.good:
            own.left_out += [
                LeftOutImage(image, reason) for built, reason in own.short for image in built.images
            ]
        elif own.short:
            short += [built for built, _ in own.short]
            lacking |= {
                (uid, built.volume.stack): _told(reason, one, own.left_out) for built, reason in own.short
            }
        elif own.refused is not None:
            by_uid[uid] = refused(by_uid[uid], _told(own.refused, one, own.left_out))
        left_out[uid] = tuple(own.left_out)
    if stacks:
        for (uid, _), reason in lacking.items():
            by_uid[uid] = refused(by_uid[uid], reason)
    return Read(tuple(by_uid.values()), tuple(stacks), tuple(short), lacking, left_out)


@dataclass(slots=True)
class _Own:
    """Of one series."""

    good: list[BuiltVolume]
    short: list[tuple[BuiltVolume, Reason]]
    refused: Reason | None  # the largest stack that is neither
    left_out: list[LeftOutImage]


def _read(series: ReadSeries, modalities: frozenset[str], most_voxels: int) -> _Own:
    own = _Own([], [], None, list(series.plan.left_out))
    for number, images in enumerate(series.plan.stacks):
        try:
            built = build_stack(series.plan, number, series.images, most_voxels)
        except Refused as error:
            own.refused = own.refused or error.reason
            own.left_out += [LeftOutImage(image, error.reason) for image in images]
            continue
        own.left_out += built.left_out
        objection = judge_pixels(built.volume)
        lacks = built.missing or judge_extent(built.volume)
        if lacks is not None and 2 * len(built.images) < len(images):
            lacks = _mostly(built.left_out, len(images))
            objection = objection and lacks  # what is left may be the vertex
        if objection is None and built.volume.modality not in modalities:
            objection = lacks or _no_model(built.volume)
        if objection is not None:
            own.refused = own.refused or objection
            own.left_out += [LeftOutImage(image, objection) for image in built.images]
        elif lacks is not None:
            own.short.append((built, lacks))
        else:
            own.good.append(built)
    return own


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
    return replace(verdict, taken=False, reason=reason, evidence="the pixels", head_seen=head_seen)


def left_out_by_reason(series_instance_uid: str, images: Iterable[LeftOutImage]) -> tuple[LeftOut, ...]:
    """What is told of the images of a series that were left out, the most first."""
    counts = Counter(item.reason for item in images)
    if not counts:
        return ()
    first = {
        code: min((reason for reason in counts if reason.code is code), key=lambda reason: reason.text)
        for code in _ONE_REASON.intersection(reason.code for reason in counts)
    }
    together: Counter[Reason] = Counter()
    for reason, count in counts.items():
        together[first.get(reason.code, reason)] += count
    return tuple(
        LeftOut(series_instance_uid, reason, count)
        for reason, count in sorted(together.items(), key=lambda item: (-item[1], item[0].code, item[0].text))
    )


def not_covered(left_out: Iterable[LeftOutImage], analysed: Sequence[Volume]) -> tuple[LeftOutImage, ...]:
    """Images of a head that lie, even in part, where no analysed slice lies: **no study with one is absent**.

    Aliens (a scout, a colour picture) show no slice of a head, and copies nothing new; but what lies in a row
    with analysed slices is a slice, whatever it says of itself. What has no place, or states that of another
    image, may show anything.
    """
    slabs = _slabs(analysed)

    def lost(item: LeftOutImage) -> bool:
        place = item.image.geometry
        own = slabs.get(_frame_of(item.image), [])
        if item.alien:
            return place is not None and not covered(place, own) and any(slab.in_row(place) for slab in own)
        return place is None or item.reason.code is ReasonCode.SAME_PLACE or not covered(place, own)

    return tuple(item for item in left_out if lost(item))


def beside(
    lacking: Iterable[tuple[ReadSeries, Reason]], analysed: Sequence[Volume]
) -> tuple[LeftOutImage, ...]:
    """Images of series that lack too much for an answer, at places that nothing analysed shows.

    Told only of near-parallel slices in the same frame of reference, by their centre: a series that crosses
    the others, or shows more around them, is another view of the same head.
    """
    slabs = _slabs(analysed)
    return tuple(
        LeftOutImage(image, reason)
        for series, reason in lacking
        for image in series.images
        if image.geometry is not None
        and any(slab.is_near_parallel_to(image.place) for slab in slabs.get(_frame_of(image), []))
        and not any(slab.holds_centre_of(image.place) for slab in slabs[_frame_of(image)])
    )


def _frame_of(image: Image) -> str | None:
    return image.of.frame_of_reference_uid


def _slabs(analysed: Sequence[Volume]) -> dict[str | None, list[Slab]]:
    """By frame of reference."""
    slabs: dict[str | None, list[Slab]] = {}
    for volume in analysed:
        slabs.setdefault(volume.frame_of_reference_uid, []).append(slab_of_volume(volume))
    return slabs


def _told(reason: Reason, series: ReadSeries, left_out: Sequence[LeftOutImage]) -> Reason:
    """A reason against a stack, with what became of the other images that came."""
    told = [item for item in left_out if not item.alien or item.reason.code is ReasonCode.SAME_PLACE]
    others = left_out_by_reason(series.series_instance_uid, told)
    if not others or reason in [item.reason for item in others]:
        return reason
    words = "; ".join(f"{counted(item.count, 'image')} left out: {item.reason.text}" for item in others)
    return Reason(reason.code, f"{reason.text} (of {counted(len(series.images), 'image')}, {words})")


def _no_model(volume: Volume) -> Reason:
    kind = volume.modality
    return Reason(ReasonCode.NO_MODEL, f"a head {kind} series, but no {kind} model is installed")
