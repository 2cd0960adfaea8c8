"""Which part of a head nobody looked at: **no study in which it could hide a lesion is absent**.

One rule for slices that are missing, damaged, left out, or far apart: what counts is the length of the head
that nothing analysed shows, whatever the cause, and whether another series shows the same place. All stacks
of a space are looked at together: of a stated frame of reference (PS3.3 C.7.4.1), or of a series without one.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from neurotriage.core.values import Reason, ReasonCode
from neurotriage.core.volume import Volume
from neurotriage.core.wording import counted
from worker.imaging import (
    BuiltVolume,
    Image,
    InstanceFacts,
    LeftOutImage,
    Slab,
    covered,
    gap_mm,
    hidden_mm,
    slab_of_volume,
)
from worker.reading import left_out_by_reason
from worker.selection import ReadSeries


def part_not_analysed(
    analysed: Sequence[BuiltVolume], lost: Sequence[LeftOutImage], max_gap_mm: float
) -> Reason | None:
    """Why a study in which no tumour was found is not absent, or None.

    ``lost``: images where nothing was analysed, which hide too much of a head. ``max_gap_mm``: between the
    faces of two slices, of one stack or of two, where no other analysed slice lies.
    """
    none_found = f"no tumour on the {counted(sum(len(built.images) for built in analysed), 'slice')} analysed"
    if lost:
        verb = "lies" if len(lost) == 1 else "lie"
        reason = left_out_by_reason("", lost)[0].reason.text
        text = f"{counted(len(lost), 'image')} {verb} where nothing was analysed: {reason}"
        return Reason(ReasonCode.PART_NOT_ANALYSED, f"{none_found}, but {text}")
    for built in analysed:
        if built.unplaced and built.missing is not None:
            return Reason(ReasonCode.PART_NOT_ANALYSED, f"{none_found}, but {built.missing.text}")
    widest_mm, holed = _widest_gap(analysed)
    if holed is None or widest_mm < max_gap_mm:
        return None
    cause = f": {holed.missing.text}" if holed.missing is not None else ""
    return Reason(
        ReasonCode.PART_NOT_ANALYSED, f"{none_found}, but {widest_mm:.0f} mm lie between two of them{cause}"
    )


def hiding(
    lost: Sequence[LeftOutImage], analysed: Sequence[Volume], max_hidden_mm: float
) -> tuple[LeftOutImage, ...]:
    """All of the lost images if without them so much of the head is not seen, else none.

    An image without a position, or with that of another image, may show anything.
    """
    slabs_of = _slabs(analysed)

    def hides_mm(item: LeftOutImage) -> float:
        place = item.image.geometry
        if place is None or item.reason.code is ReasonCode.SAME_PLACE:
            return np.inf
        return hidden_mm(place, slabs_of(item.image))

    return tuple(lost) if any(hides_mm(item) >= max_hidden_mm for item in lost) else ()


def not_covered(left_out: Iterable[LeftOutImage], analysed: Sequence[Volume]) -> tuple[LeftOutImage, ...]:
    """Images of a head that lie, even in part, where no analysed slice lies.

    Scouts and colour pictures show no head slice, and copies add nothing; but an image in line with analysed
    slices counts as a slice, whatever its header says. An image without a position, or with that of another
    image, may show anything.
    """
    slabs_of = _slabs(analysed)

    def lost(item: LeftOutImage) -> bool:
        place = item.image.geometry
        own = slabs_of(item.image)
        if item.alien:
            return place is not None and not covered(place, own) and any(slab.in_row(place) for slab in own)
        return place is None or item.reason.code is ReasonCode.SAME_PLACE or not covered(place, own)

    return tuple(item for item in left_out if lost(item))


def beside(
    refused: Iterable[tuple[ReadSeries, Reason]], analysed: Sequence[Volume]
) -> tuple[LeftOutImage, ...]:
    """Images of series that were not analysed, at places that nothing analysed shows.

    Only near-parallel slices in the same frame of reference are considered, by their centre: a series that
    crosses the others, or shows more around them, is another view of the same head.
    """
    slabs_of = _slabs(analysed)
    return tuple(
        LeftOutImage(image, reason)
        for series, reason in refused
        for image in series.images
        if image.geometry is not None
        and any(slab.is_near_parallel_to(image.place) for slab in slabs_of(image))
        and not any(slab.holds_centre_of(image.place) for slab in slabs_of(image))
    )


def _widest_gap(analysed: Sequence[BuiltVolume]) -> tuple[float, BuiltVolume | None]:
    """The longest way in mm between two slices on which no analysed slice lies, and a stack beside it."""
    widest: tuple[float, BuiltVolume | None] = (0.0, None)
    slabs = [slab_of_volume(built.volume) for built in analysed]
    spaces = [_space_of(built.volume) for built in analysed]
    for built, slab, space in zip(analysed, slabs, spaces, strict=True):
        own = [other for other, another in zip(slabs, spaces, strict=True) if another == space]
        unseen_mm = gap_mm(slab, own)
        if unseen_mm > widest[0]:
            widest = (unseen_mm, built)
    return widest


def _space_of(of: Volume | InstanceFacts) -> str:
    """Within which positions compare."""
    return of.frame_of_reference_uid or of.series_instance_uid


def _slabs(analysed: Sequence[Volume]) -> Callable[[Image], Sequence[Slab]]:
    """A function that gives the slabs in the space of an image.

    A series that states no space and of which nothing is analysed is taken to lie in that of all others that
    state none: it can add a doubt, and nothing that was analysed counts as shown by it.
    """
    by_space: dict[str, list[Slab]] = {}
    unstated: list[Slab] = []
    for volume in analysed:
        slab = slab_of_volume(volume)
        by_space.setdefault(_space_of(volume), []).append(slab)
        if volume.frame_of_reference_uid is None:
            unstated.append(slab)
    series = {volume.series_instance_uid for volume in analysed}

    def slabs_of(image: Image) -> Sequence[Slab]:
        if image.of.frame_of_reference_uid is None and image.of.series_instance_uid not in series:
            return unstated
        return by_space.get(_space_of(image.of), [])

    return slabs_of
