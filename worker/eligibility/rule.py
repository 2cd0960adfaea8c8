"""The numbers by which a series is refused, whatever the network: part ``eligibility`` of the rule file.

``weights/study_rule.json`` says of each its value, its unit and where it comes from. Nothing here has a
default, so that no number is decided in code. What belongs to one network (its out-of-distribution limits,
its least head probability) stands in that network's own rule (``worker.vision.registry.rule``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

PART = "eligibility"  # its key in the rule file


@dataclass(frozen=True, slots=True)
class EligibilityRule:
    """When a volume is no head that can be judged, too little of one, or too coarse."""

    # pixels
    min_correlation: float  # of neighbouring pixels; below it is noise
    max_darkest_hu: float  # CT: first percentile of all values; above it there is neither air nor fat
    min_head_mm: float  # width of the largest object
    max_head_mm: float
    min_soft_share: float  # CT: of the largest object of a slice that shows a head
    min_bone_ring: float  # CT: share of the directions in which bone lies around it
    min_head_slices: float  # CT: share of the slices that look like a head by the two before
    max_flatness: float  # MR: share of the inside without gradient
    min_filled_share: float  # of the inside of a section that gives signal
    # extent
    min_slices: int
    min_covered_mm: float
    min_side_px: int
    min_field_of_view_mm: float
    max_pixel_mm: float
    # the study
    max_gap_mm: float  # between two analysed slices; with a wider one no study is "absent"
    min_slices_to_see_a_head: int  # on which the network must see one where no header speaks of a head


def parse_rule(rows: Mapping[str, Mapping[str, Any]]) -> EligibilityRule:
    """The rule of a parsed file: by name ``{"value": ..., "unit": ..., "source": ...}``.

    Raises KeyError, TypeError or ValueError where a number is missing, is none, or has no unit or source.
    """
    values = {}
    for field in fields(EligibilityRule):
        row = rows[field.name]
        if not (row["unit"] and row["source"]):
            raise ValueError(f"{field.name} has no unit or no source")
        values[field.name] = field.type(row["value"])  # type: ignore[operator]
    return EligibilityRule(**values)
