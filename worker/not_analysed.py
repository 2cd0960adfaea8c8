"""Which part of a head nobody looked at: **no study in which it could hide a lesion is absent**.

One rule for slices that are missing, damaged, left out, or far apart: what counts is the length of the head
that nothing analysed shows, whatever the cause, and whether another series shows the same place.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from neurotriage.core.values import Reason, ReasonCode
from neurotriage.core.volume import Volume
from neurotriage.core.wording import counted
from worker.imaging import BuiltVolume, Image, LeftOutImage, Slab, covered, slab_of_volume
from worker.reading import left_out_by_reason
from worker.selection import ReadSeries


def part_not_analysed(
    analysed: Sequence[BuiltVolume], lost: Sequence[LeftOutImage], max_gap_mm: float
) -> Reason | None:
    """Why a study in which no tumour was found is not absent, or None.

    ``lost``: images where nothing was analysed, which hide too much of a head. ``max_gap_mm``: between the
    faces of two slices, where no other analysed slice lies.
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
    gap_mm, holed = _widest_gap(analysed)
    if holed is None or gap_mm < max_gap_mm:
        return None
    cause = f": {holed.missing.text}" if holed.missing is not None else ""
    return Reason(
        ReasonCode.PART_NOT_ANALYSED, f"{none_found}, but {gap_mm:.0f} mm lie between two of them{cause}"
    )


def hiding(
    lost: Sequence[LeftOutImage], analysed: Sequence[Volume], max_hidden_mm: float
) -> tuple[LeftOutImage, ...]:
    """All of the lost images if without them so much of the head is not seen, else none.

    An image without a position, or with that of another image, may show anything.
    """
    slabs = _slabs(analysed)

    def hidden_mm(item: LeftOutImage) -> float:
        place = item.image.geometry
        if place is None or item.reason.code is ReasonCode.SAME_PLACE:
            return np.inf
        return min((slab.hidden_mm(place) for slab in slabs.get(_frame_of(item.image), [])), default=np.inf)

    return tuple(lost) if any(hidden_mm(item) >= max_hidden_mm for item in lost) else ()


def not_covered(left_out: Iterable[LeftOutImage], analysed: Sequence[Volume]) -> tuple[LeftOutImage, ...]:
    """Images of a head that lie, even in part, where no analysed slice lies.

    Scouts and colour pictures show no head slice, and copies add nothing; but an image in line with analysed
    slices counts as a slice, whatever its header says. An image without a position, or with that of another
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
    refused: Iterable[tuple[ReadSeries, Reason]], analysed: Sequence[Volume]
) -> tuple[LeftOutImage, ...]:
    """Images of series that were not analysed, at places that nothing analysed shows.

    Only near-parallel slices in the same frame of reference are considered, by their centre: a series that
    crosses the others, or shows more around them, is another view of the same head.
    """
    slabs = _slabs(analysed)
    return tuple(
        LeftOutImage(image, reason)
        for series, reason in refused
        for image in series.images
        if image.geometry is not None
        and any(slab.is_near_parallel_to(image.place) for slab in slabs.get(_frame_of(image), []))
        and not any(slab.holds_centre_of(image.place) for slab in slabs[_frame_of(image)])
    )


def _widest_gap(analysed: Sequence[BuiltVolume]) -> tuple[float, BuiltVolume | None]:
    """The longest way in mm between two slices of a stack on which no analysed slice lies, and the stack."""
    widest: tuple[float, BuiltVolume | None] = (0.0, None)
    slabs = [slab_of_volume(built.volume) for built in analysed]
    for built, slab in zip(analysed, slabs, strict=True):
        others = [
            other
            for another, other in zip(analysed, slabs, strict=True)
            if other is not slab and _same_space(built.volume, another.volume)
        ]
        for gap in np.flatnonzero(slab.gaps_mm > widest[0]):
            unseen_mm = _unseen_mm(slab, int(gap), others)
            if unseen_mm > widest[0]:
                widest = (unseen_mm, built)
    return widest


def _unseen_mm(slab: Slab, gap: int, others: Sequence[Slab]) -> float:
    """The longest way through a gap that no other slab shows."""
    if not others:
        return float(slab.gaps_mm[gap])
    points, depth_mm = slab.between(gap)
    seen = np.zeros(points.shape[:2], bool)
    for other in others:
        seen |= other.holds(points.reshape(-1, 3)).reshape(seen.shape)
    unseen = np.concatenate(([0], np.where(seen.all(1), 0, 1), [0]))
    begins, ends = np.flatnonzero(np.diff(unseen) == 1), np.flatnonzero(np.diff(unseen) == -1)
    return float((ends - begins).max(initial=0) * depth_mm)


def _same_space(volume: Volume, other: Volume) -> bool:
    """Whether positions compare: in one series, or in one stated frame of reference (PS3.3 C.7.4.1)."""
    if volume.series_instance_uid == other.series_instance_uid:
        return True
    frame = volume.frame_of_reference_uid
    return frame is not None and frame == other.frame_of_reference_uid


def _frame_of(image: Image) -> str | None:
    return image.of.frame_of_reference_uid


def _slabs(analysed: Sequence[Volume]) -> dict[str | None, list[Slab]]:
    """By frame of reference."""
    slabs: dict[str | None, list[Slab]] = {}
    for volume in analysed:
        slabs.setdefault(volume.frame_of_reference_uid, []).append(slab_of_volume(volume))
    return slabs
