"""Which part of a head nobody looked at: **no study with such a part is absent**."""

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

    ``lost``: images where nothing was analysed. ``max_gap_mm``: between two slices, their thickness left out.
    """
    gap_mm = max((_widest_gap_mm(built.volume) for built in analysed), default=0.0)
    slices = counted(sum(len(built.images) for built in analysed), "slice")
    if lost:
        verb = "lies" if len(lost) == 1 else "lie"
        text = (
            f"no tumour on the {slices} that were analysed, but {counted(len(lost), 'image')} {verb} "
            f"where nothing was analysed: {left_out_by_reason('', lost)[0].reason.text}"
        )
    elif gap_mm >= max_gap_mm:
        text = f"no tumour on the {slices} that were analysed, but {gap_mm:.0f} mm lie between two of them"
    else:
        return None
    return Reason(ReasonCode.PART_NOT_ANALYSED, text)


def _widest_gap_mm(volume: Volume) -> float:
    """The widest distance between neighbouring slices that their thickness does not fill, in mm."""
    steps_mm = np.linalg.norm(np.diff(volume.positions_mm, axis=0), axis=1)
    return float(steps_mm.max(initial=0.0)) - volume.thickness_mm


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
    lacking: Iterable[tuple[ReadSeries, Reason]], analysed: Sequence[Volume]
) -> tuple[LeftOutImage, ...]:
    """Images of series that lack too much for an answer, at places that nothing analysed shows.

    Only near-parallel slices in the same frame of reference are considered, by their centre: a series that
    crosses the others, or shows more around them, is another view of the same head.
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
