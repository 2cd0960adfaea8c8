"""The length of the head that no slice shows, measured on all stacks of a space together.

Slices of near-parallel slabs bound a gap, whatever stacks they belong to, and any slab may show what lies in
it.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from neurotriage.dicom.geometry import FrameGeometry
from worker.imaging.stacks.coverage import PLACE_TOLERANCE_MM, Slab, points_mm_of

_DECIMALS = 3  # of a length in mm: 9 mm are 9 mm, also where the sum of steps falls short by rounding


def gap_mm(slab: Slab, slabs: Sequence[Slab]) -> float:
    """The longest way between near-parallel slices on which no slice lies; 0 where there is none.

    Nine lines lead along ``slab``, one of ``slabs``, and on through those above and below it. ``slabs``: all
    of one space.
    """
    points_mm, direction = slab.lines_along()
    lines = _seen(points_mm, direction, slab, slabs)
    return max(_longest(_unseen(faces, others, faces.min(), faces.max())) for faces, others in lines)


def hidden_mm(place: FrameGeometry, slabs: Sequence[Slab]) -> float:
    """The length along the slices that is not seen without an image at ``place``.

    ``slabs``: all of its space.
    Between two slices, of one slab or of two, the distance of their faces; beyond the last one, from its face
    to the far face of the image. Infinite for an image to which no slab is near-parallel, or that lies beside
    the field of view.
    """
    near = [slab for slab in slabs if slab.is_near_parallel_to(place)]
    if not near:
        return np.inf
    half_mm = (place.thickness_mm or near[0].thickness_mm) / 2
    within_mm = half_mm - PLACE_TOLERANCE_MM
    longest_mm = 0.0
    for faces, others in _seen(points_mm_of(place), np.array(place.normal), place, slabs):
        if not len(faces):
            return np.inf
        runs = _unseen(faces, others, min(faces.min(), -half_mm), max(faces.max(), half_mm))
        longest_mm = max(longest_mm, _longest(runs[(runs[:, 1] > -within_mm) & (runs[:, 0] < within_mm)]))
    return longest_mm


def _seen(
    points_mm: NDArray[np.float64],
    direction: NDArray[np.float64],
    along: Slab | FrameGeometry,
    slabs: Sequence[Slab],
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """For each line, where it lies in slices near-parallel to ``along``, and in others: (k, 2) in mm.

    Near-parallel slices end at their faces. Of others a line may pass between two neighbours all its way, so
    that these reach halfway to each other.
    """
    near = [slab for slab in slabs if slab.is_near_parallel_to(along)]
    faces = [slab.seen_along(points_mm, direction, slab.thickness_mm / 2) for slab in near]
    others = [
        slab.seen_along(points_mm, direction, slab.half_mm + PLACE_TOLERANCE_MM)
        for slab in slabs
        if slab not in near
    ]
    nothing = np.empty((len(points_mm), 0, 2))
    for line, crossing in zip(
        np.concatenate([nothing, *faces], axis=1), np.concatenate([nothing, *others], axis=1), strict=True
    ):
        yield line[line[:, 0] <= line[:, 1]], crossing[crossing[:, 0] <= crossing[:, 1]]


def _unseen(
    faces: NDArray[np.float64], others: NDArray[np.float64], low: float, high: float
) -> NDArray[np.float64]:
    """The runs (r, 2) of a line from ``low`` to ``high`` that lie in no slice."""
    seen = np.concatenate([faces, others])
    seen = seen[seen[:, 0].argsort()]
    reached = np.maximum.accumulate(np.concatenate([[low], seen[:, 1]]))
    begins = np.minimum(np.concatenate([seen[:, 0], [high]]), high)
    runs = np.stack([reached, begins], axis=1)
    return runs[runs[:, 1] > runs[:, 0]]


def _longest(runs: NDArray[np.float64]) -> float:
    return round(float((runs[:, 1] - runs[:, 0]).max(initial=0.0)), _DECIMALS)
