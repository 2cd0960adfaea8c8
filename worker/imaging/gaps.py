"""Steps between neighbouring frames of a stack, and slices that are missing between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Final

import numpy as np

from neurotriage.dicom.geometry import FrameGeometry

# A step has missing images if it is 2, 3, ... regular steps within this share of a step ...
_STEP_TOLERANCE: Final = 0.15
# ... and at least this share of all steps is regular: steps that vary by design miss nothing.
_REGULAR_SHARE: Final = 0.7
_MIN_STEPS: Final = 4


@dataclass(frozen=True, slots=True)
class Gap:
    """Slices that are missing between two neighbours of a regular stack."""

    before: int  # 0-based index of the slice before the gap
    missing: int  # number of slices
    step_mm: float


def steps_mm(ordered: Sequence[FrameGeometry]) -> list[float]:
    """Distances in mm between neighbouring slices along the normal of the first; empty for one slice."""
    offsets = [_offset_along(ordered[0], frame) for frame in ordered]
    return [after - before for before, after in pairwise(offsets)]


def interior_gaps(ordered: Sequence[FrameGeometry]) -> tuple[Gap, ...]:
    """The gaps of one slice or more in an otherwise regular stack of sorted frames; often empty.

    A wide step is no gap if its slices are as thick as the step (blocks of different thickness in a CT
    series), or if instance numbers continue across it (two slabs acquired separately).
    """
    steps = steps_mm(ordered)
    if len(steps) < _MIN_STEPS:
        return ()
    regular_mm = median(steps)
    gaps = tuple(
        Gap(index, round(step / regular_mm) - 1, step)
        for index, step in enumerate(steps)
        if _is_multiple(step / regular_mm) and not _explained(ordered, index, regular_mm)
    )
    regular = sum(abs(step / regular_mm - 1) <= _STEP_TOLERANCE for step in steps)
    return gaps if regular >= _REGULAR_SHARE * len(steps) and regular + len(gaps) == len(steps) else ()


def _is_multiple(ratio: float) -> bool:
    return round(ratio) >= 2 and abs(ratio - round(ratio)) <= _STEP_TOLERANCE * round(ratio)


def _explained(ordered: Sequence[FrameGeometry], index: int, regular_mm: float) -> bool:
    before, after = ordered[index], ordered[index + 1]
    thickness_mm = max(before.thickness_mm or 0.0, after.thickness_mm or 0.0)
    usual_mm = median(frame.thickness_mm or 0.0 for frame in ordered)
    if thickness_mm > 1.5 * max(usual_mm, regular_mm):
        return True
    return _numbers_run_on(ordered, index)


def _numbers_run_on(ordered: Sequence[FrameGeometry], index: int) -> bool:
    numbers = [f.frame if f.frame is not None else f.instance_number for f in ordered]
    jumps = [None if a is None or b is None else b - a for a, b in pairwise(numbers)]
    if any(jump is None for jump in jumps):
        return False
    # Numbers prove that nothing is missing only if they follow the positions in the whole stack.
    return jumps[index] in (-1, 1) and all(jump == jumps[index] for jump in jumps)


def _offset_along(reference: FrameGeometry, frame: FrameGeometry) -> float:
    return float(np.dot(reference.normal, frame.position_mm))
