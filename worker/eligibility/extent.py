"""Whether there is enough of a head for an answer, finely enough."""

from math import floor

from neurotriage.core.values import Reason, ReasonCode
from worker.eligibility.facts import Extent
from worker.eligibility.rule import EligibilityRule


def is_enough(slices: int, covered_mm: float, rule: EligibilityRule) -> bool:
    """Whether so many slices over such a length are enough for an answer of their own."""
    return slices >= rule.min_slices and covered_mm >= rule.min_covered_mm


def too_few_slices(extent: Extent, rule: EligibilityRule) -> Reason | None:
    """TOO_FEW_SLICES, or None."""
    if is_enough(extent.slices, extent.covered_mm, rule):
        return None
    if extent.slices < rule.min_slices:
        text = f"{extent.slices} of at least {rule.min_slices} slices"
    else:  # rounded down: 24.9 is not 25
        needed = f"{rule.min_covered_mm:.0f} mm or more are needed"
        text = f"the slices cover {floor(extent.covered_mm)} mm; {needed}"
    return Reason(ReasonCode.TOO_FEW_SLICES, text)


def too_coarse(extent: Extent, rule: EligibilityRule) -> Reason | None:
    """TOO_COARSE for a picture or pixels that cannot show a small lesion, or None."""
    small = min(extent.rows, extent.columns) < rule.min_side_px
    if small or extent.field_of_view_mm < rule.min_field_of_view_mm:
        size = f"{extent.rows} x {extent.columns} pixels, {extent.field_of_view_mm:.0f} mm"
        return Reason(ReasonCode.TOO_COARSE, f"the picture is too small: {size}")
    pixel_mm = max(extent.pixel_mm)
    if pixel_mm > rule.max_pixel_mm:
        return Reason(ReasonCode.TOO_COARSE, f"pixels of {pixel_mm:.1f} mm are too coarse")
    return None
