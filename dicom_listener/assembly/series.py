"""Whether a series is geometrically closed, from where its images lie; numbers of instances say nothing.

Echoes share instance numbers, and scans stop early: closed is a stack whose positions are uniform, without a
gap, each held equally often, and that lacks no image of which its own headers speak.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Final

from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
)

from db.studies.arrivals import Arrival, ArrivedSeries
from neurotriage.core.placement import Placement

_SLICES: Final[frozenset[str]] = frozenset({
    CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage,
    MRImageStorage, EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage,
})  # fmt: skip
_SAME_PLACE_MM: Final = 0.05
# Distances between neighbours differ by no more: headers are rounded.
_UNEVEN_MM: Final = 0.1
_UNEVEN_SHARE: Final = 0.1
# For a first look: a stack that reaches through a head, and is no scout and no time series.
_MIN_PLACES: Final = 12
_HEAD_MM: Final = (80.0, 400.0)
_MAX_PASSES: Final = 8
_HEAD_WORDS: Final = ("HEAD", "BRAIN", "SKULL", "NEURO", "CRANI", "CEREB")
# A series has come to rest after so many times the longest pause between two of its images.
_PAUSES: Final = 3.0


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """A series as far as it came. Times are in seconds since 1970."""

    id: int
    modality: str
    description: str
    images: int
    frozen: int  # of these, in a revision already
    closed: bool
    full: bool  # closed, and complete by the numbers in its own headers
    eligible: bool  # enough for a first look, once it is closed
    last_s: float
    longest_pause_s: float
    associations: frozenset[str]
    one_by_one: bool  # each image came on an association of its own

    def rests_after_s(self, at_least_s: float, at_most_s: float) -> float:
        """Seconds without an image of it after which it has come to rest."""
        return max(at_least_s, min(_PAUSES * self.longest_pause_s, at_most_s))


def series_facts(series: ArrivedSeries, arrivals: Sequence[Arrival]) -> SeriesFacts:
    """The facts of one series, from at least one arrival, in order of arrival."""
    slices = all(arrival.sop_class_uid in _SLICES for arrival in arrivals)
    placements = [arrival.placement for arrival in arrivals]
    stacks = _stacks(placements)
    lacking, stated = _stated(placements)
    closed = not slices or (not lacking and all(stack.closed for stack in stacks))
    largest = max(stacks, key=lambda stack: stack.places, default=None)
    times = [arrival.came_s for arrival in arrivals]
    associations = Counter(arrival.association_id for arrival in arrivals)
    return SeriesFacts(
        id=series.id,
        modality=series.modality,
        description=series.description,
        images=len(arrivals),
        frozen=sum(arrival.frozen for arrival in arrivals),
        closed=closed,
        full=closed and slices and stated,
        eligible=slices and largest is not None and largest.is_a_head and _may_be_a_head(series),
        last_s=times[-1],
        longest_pause_s=max((after - before for before, after in pairwise(times)), default=0.0),
        associations=frozenset(associations),
        one_by_one=max(associations.values()) < 2,
    )


@dataclass(frozen=True, slots=True)
class _Stack:
    """Images of one grid."""

    places: int
    passes: int
    extent_mm: float
    closed: bool

    @property
    def is_a_head(self) -> bool:
        low_mm, high_mm = _HEAD_MM
        return (
            self.places >= _MIN_PLACES and low_mm <= self.extent_mm <= high_mm and self.passes <= _MAX_PASSES
        )


def _stacks(placements: Iterable[Placement]) -> list[_Stack]:
    grids: dict[str, list[float]] = defaultdict(list)
    stacks = []
    for placement in placements:
        if placement.position_mm is None:
            continue
        if placement.frames > 1:  # it came whole
            step_mm = placement.extent_mm / (placement.frames - 1)
            stacks.append(_Stack(placement.frames, 1, placement.extent_mm + step_mm, closed=True))
        else:
            grids[placement.grid].append(placement.position_mm)
    return [*stacks, *map(_stack, grids.values())]


def _stack(positions_mm: Sequence[float]) -> _Stack:
    places: list[float] = []
    held: list[int] = []
    for position_mm in sorted(positions_mm):
        if places and position_mm - places[-1] <= _SAME_PLACE_MM:
            held[-1] += 1
        else:
            places.append(position_mm)
            held.append(1)
    steps_mm = [after - before for before, after in pairwise(places)]
    usual_mm = median(steps_mm) if steps_mm else 0.0
    allowed_mm = max(_UNEVEN_MM, _UNEVEN_SHARE * usual_mm)
    uniform = all(abs(step_mm - usual_mm) <= allowed_mm for step_mm in steps_mm)
    return _Stack(
        places=len(places),
        passes=max(held),
        extent_mm=places[-1] - places[0] + usual_mm,
        closed=uniform and min(held) == max(held),
    )


def _stated(placements: Iterable[Placement]) -> tuple[bool, bool]:
    """Whether an acquisition lacks images of which its headers speak, and whether all of them speak."""
    acquisitions: dict[int | None, list[Placement]] = defaultdict(list)
    for placement in placements:
        acquisitions[placement.acquisition_number].append(placement)
    lacking, stated = False, True
    for images in acquisitions.values():
        numbers = {image.images_stated for image in images}
        stated = stated and None not in numbers and len(numbers) == 1
        lacking = lacking or len(images) < max((number for number in numbers if number), default=0)
    return lacking, stated


def _may_be_a_head(series: ArrivedSeries) -> bool:
    part = series.body_part.upper()
    return series.modality in ("CT", "MR") and (not part or any(word in part for word in _HEAD_WORDS))
