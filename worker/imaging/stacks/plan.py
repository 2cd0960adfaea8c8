"""Groups the images of a series into stacks, and gives a reason for each image that is left out.

Neither UIDs nor the order of arrival decide anything: both carry no information on the patient.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from neurotriage.core.errors import Refused
from neurotriage.core.values import Reason, ReasonCode
from neurotriage.core.wording import counted
from worker.eligibility import EligibilityRule, is_enough
from worker.imaging.pixels import decode_frame
from worker.imaging.stacks.coverage import PLACE_TOLERANCE_MM, covered, slab_of_images
from worker.imaging.stacks.image import Image
from worker.imaging.stacks.kinds import KIND_ATTRIBUTES, PASS_ATTRIBUTES, sharpness
from worker.imaging.stacks.passes import Kind, Places, kinds_of, poor

# More stacks of one series cost time; another tilt, field of view and pass make three.
MAX_STACKS: Final = 4
# Directions within half a degree are the same, for rounding; it moves the corners of a head by a millimetre.
_SAME_DIRECTION: Final = float(np.sin(np.deg2rad(0.5)))
_SAME_SPACING_MM: Final = 1e-3
# The slices of one stack follow a line, which may be oblique; those of a second pass may lie beside it.
_BESIDE_MM: Final = 2.0
_MAX_PAIRS: Final = 200  # images from whose pairs the slope of that line is estimated
# More images than this at the only position of a grid are no passes: their positions were lost.
_COPIES: Final = 2
# A few slices turned this far from most of the series are its localizer.
_SCOUT_COS: Final = float(np.cos(np.deg2rad(45.0)))


@dataclass(frozen=True, slots=True)
class LeftOutImage:
    """An image that is not analysed, and the reason."""

    image: Image
    reason: Reason
    alien: bool = False  # no slice of the head, or a copy of one, so that nothing is missed without it


@dataclass(frozen=True, slots=True)
class SeriesPlan:
    """The stacks of a series to analyse, and the images left out."""

    series_instance_uid: str
    stacks: tuple[tuple[Image, ...], ...]  # the largest first, each ascending along its normal
    left_out: tuple[LeftOutImage, ...]
    passes: int = 1  # number of passes over the positions of the first stack
    keyed: bool = True  # whether more than a running number distinguishes them

    @property
    def images(self) -> tuple[Image, ...]:
        """The images of all stacks."""
        return tuple(image for stack in self.stacks for image in stack)


def plan(series_instance_uid: str, images: Sequence[Image], rule: EligibilityRule) -> SeriesPlan:
    """At most ``MAX_STACKS`` stacks of images, which must all have a geometry (PS3.3 C.7.6.2).

    A grid (orientation, matrix, pixel size, line) that is large enough for an answer is a stack of its own.
    In a grid the best kind is analysed (``kinds``), and of others the images at positions it does not cover.
    """
    grids = [line for grid in _grids(sorted(images, key=_content)) for line in _lines(grid)]
    stacks: list[_Stack] = []
    left_out: list[LeftOutImage] = []
    spared = any(not poor(image) for image in images)
    for grid in grids:
        own, rest = _stacks_of(grid, spared, rule)
        stacks += own
        left_out += rest
    chosen, rest = _chosen(stacks)
    first = chosen[0] if chosen else None
    return SeriesPlan(
        series_instance_uid,
        tuple(stack.images for stack in chosen),
        tuple(left_out + rest),
        first.kind.passes if first else 1,
        first.kind.keyed if first else True,
    )


@dataclass(frozen=True, slots=True)
class _Stack:
    images: tuple[Image, ...]
    kind: Kind
    usable: bool  # there is enough of it for an answer

    @property
    def grade(self) -> tuple[int, ...]:
        """Rank of the kind of image, whatever its grid: 0 is best."""
        first = self.images[0]
        stated = dict(zip((attribute.name for attribute in KIND_ATTRIBUTES), first.kind, strict=False))
        kernel = stated["kernel"]
        return (
            int(poor(first)),
            int(stated["derivation"] == "derived"),
            sharpness(kernel if isinstance(kernel, str) else None),
        )


def _usable(images: Sequence[Image], rule: EligibilityRule) -> bool:
    if not images:
        return False
    first, last = images[0].place, images[-1].place
    length_mm = float(np.linalg.norm(np.subtract(last.position_mm, first.position_mm)))
    return is_enough(len(images), length_mm + (first.thickness_mm or 0.0), rule)


def _content(image: Image) -> tuple[object, ...]:
    """All values of an image but its UIDs: images of equal content are interchangeable."""
    place = image.place
    ranks = tuple(
        attribute.rank(stated)
        for attribute, stated in zip((*KIND_ATTRIBUTES, *PASS_ATTRIBUTES), image.kind, strict=True)
    )
    return (
        place.orientation, place.rows, place.columns, place.spacing_mm, place.position_mm,
        place.thickness_mm or 0.0, ranks, place.frame or 0,
    )  # fmt: skip


def _grids(images: Sequence[Image]) -> list[list[Image]]:
    """Images by frame of reference, orientation, matrix and pixel size."""
    # Some writers give each image its own frame of reference, which is then ignored.
    spaces = len({image.of.frame_of_reference_uid for image in images}) <= MAX_STACKS
    grids: list[list[Image]] = []
    for image in images:
        match = next((grid for grid in grids if _same_grid(grid[0], image, spaces)), None)
        if match is None:
            grids.append([image])
        else:
            match.append(image)
    return grids


def _same_grid(first: Image, image: Image, spaces: bool) -> bool:
    if first.of.modality != image.of.modality:
        return False
    if spaces and first.of.frame_of_reference_uid != image.of.frame_of_reference_uid:
        return False
    place, other = first.place, image.place
    if (place.rows, place.columns) != (other.rows, other.columns):
        return False
    if max(abs(a - b) for a, b in zip(place.spacing_mm, other.spacing_mm, strict=True)) > _SAME_SPACING_MM:
        return False
    difference = max(abs(a - b) for a, b in zip(place.orientation, other.orientation, strict=True))
    return difference <= _SAME_DIRECTION


def _lines(grid: list[Image]) -> list[list[Image]]:
    """Images of one grid by the straight line that their positions follow."""
    first = grid[0].place
    positions = np.array([image.place.position_mm for image in grid])
    along = positions @ first.normal
    lines = [np.arange(len(grid))]
    for direction in (np.array(first.orientation[:3]), np.array(first.orientation[3:])):
        across = positions @ direction
        beside_mm = across - _slope(along, across) * along
        lines = [part for line in lines for part in _clusters(line, beside_mm[line])]
    return [[grid[index] for index in line] for line in lines]


def _slope(along: NDArray[np.float64], across: NDArray[np.float64]) -> float:
    """The median shift across per mm along (Theil-Sen estimator), which parallel lines share."""
    sample = np.argsort(along, kind="stable")[
        np.linspace(0, len(along) - 1, min(len(along), _MAX_PAIRS)).astype(int)
    ]
    first, second = np.triu_indices(len(sample), 1)
    steps = along[sample][second] - along[sample][first]
    far = np.abs(steps) > PLACE_TOLERANCE_MM
    if not far.any():
        return 0.0
    shifts = across[sample][second] - across[sample][first]
    return float(np.median(shifts[far] / steps[far]))


def _clusters(indices: NDArray[np.intp], values: NDArray[np.float64]) -> list[NDArray[np.intp]]:
    order = np.argsort(values, kind="stable")
    breaks = np.flatnonzero(np.diff(values[order]) > _BESIDE_MM) + 1
    return [np.sort(indices[part]) for part in np.split(order, breaks)]


def _places(images: Sequence[Image]) -> Places:
    """Positions in mm of images of one grid along their normal; equal for those within the tolerance."""
    normal = images[0].place.normal
    offsets = sorted((float(np.dot(normal, image.place.position_mm)), image.key) for image in images)
    places: dict[tuple[str, int | None], float] = {offsets[0][1]: offsets[0][0]}
    for (before, key), (after, other) in pairwise(offsets):
        places[other] = places[key] if after - before <= PLACE_TOLERANCE_MM else after
    return places


def _stacks_of(
    grid: list[Image], spared: bool, rule: EligibilityRule
) -> tuple[list[_Stack], list[LeftOutImage]]:
    """Stacks and left-out images of one grid. ``spared``: the series has images that are not ``poor``."""
    places = _places(grid)
    left_out: list[LeftOutImage] = []
    candidates: list[_Stack] = []
    strays: list[Image] = []
    kinds = kinds_of(grid, places)
    if len(set(places.values())) == 1 and len(kinds) > _COPIES:  # the middle one most likely shows a head
        kinds = [replace(kind, stray=place != len(kinds) // 2) for place, kind in enumerate(kinds)]
    for kind in kinds:
        single, double = _without_doubles(kind, places)
        left_out += double
        if kind.stray:
            strays += single
        elif single:
            ordered = tuple(sorted(single, key=lambda image: places[image.key]))
            candidates.append(_Stack(ordered, kind, _usable(ordered, rule)))
    candidates.sort(key=lambda stack: (spared and poor(stack.images[0]), not stack.usable))
    stacks: list[_Stack] = []
    for stack in candidates:
        if spared and poor(stack.images[0]):
            left_out += _other_kind(stack.images, stacks)
            continue
        slabs = [slab_of_images([image.place for image in taken.images]) for taken in stacks]
        fresh = (
            tuple(image for image in stack.images if not covered(image.place, slabs))
            if slabs
            else stack.images
        )
        if stacks and not _usable(fresh, rule):
            left_out += _other_kind(stack.images, stacks)
            continue
        known = {image.key for image in fresh}
        left_out += _other_kind([image for image in stack.images if image.key not in known], stacks)
        stacks.append(_Stack(fresh, stack.kind, _usable(fresh, rule)))
    left_out += [_stray(image, stacks, places, _one_position(grid, places)) for image in strays]
    return stacks, left_out


def _stray(image: Image, stacks: Sequence[_Stack], places: Places, wrong: str) -> LeftOutImage:
    """An image at the position of an analysed one: where packages meet, or because its position was lost."""
    for other in (
        other for stack in stacks for other in stack.images if places[other.key] == places[image.key]
    ):
        for column, attribute in enumerate((*KIND_ATTRIBUTES, *PASS_ATTRIBUTES)):
            if not attribute.weak and image.kind[column] != other.kind[column]:
                return LeftOutImage(
                    image, Reason(ReasonCode.OTHER_KIND, attribute.describe(image.kind[column]))
                )
    return LeftOutImage(image, Reason(ReasonCode.SAME_PLACE, wrong))


def _one_position(grid: Sequence[Image], places: Places) -> str:
    crowd = max(Counter(places.values()).values())
    return (
        f"at the position of another image: {crowd} of {counted(len(grid), 'image')} state one position "
        "(0020,0032)"
    )


def _without_doubles(kind: Kind, places: Places) -> tuple[list[Image], list[LeftOutImage]]:
    """One of several indistinguishable images at one position if their pixels are the same, else none."""
    at: dict[float, list[Image]] = {}
    for image in kind.images:
        at.setdefault(places[image.key], []).append(image)
    single: list[Image] = []
    double: list[LeftOutImage] = []
    again = Reason(ReasonCode.SAME_PLACE, "a copy: the position (0020,0032) and the pixels of another image")
    unknown = Reason(
        ReasonCode.SAME_PLACE,
        "several images state one position (0020,0032), and nothing tells which is which",
    )
    for images in at.values():
        if len(images) == 1:
            single += images
        elif len({_digest(image) for image in images}) == 1:
            single.append(images[0])
            double += [LeftOutImage(image, again, alien=True) for image in images[1:]]
        else:
            double += [LeftOutImage(image, unknown) for image in images]
    return single, double


def _digest(image: Image) -> str:
    """SHA-256 of the pixels in true units; of those that cannot be decoded, a unique name."""
    try:
        return sha256(decode_frame(image.of.path, image.place.frame).tobytes()).hexdigest()
    except Refused:
        return repr(image.key)


def _other_kind(images: Sequence[Image], taken: Sequence[_Stack]) -> list[LeftOutImage]:
    return [LeftOutImage(image, _difference(image, taken)) for image in images]


def _difference(image: Image, taken: Sequence[_Stack]) -> Reason:
    """The attribute in which an image differs from the analysed ones, as a reason."""
    if not taken:
        return Reason(ReasonCode.OTHER_KIND, f"{_poor_word(image)}, which are not analysed")
    chosen = taken[0].images
    for column, attribute in enumerate((*KIND_ATTRIBUTES, *PASS_ATTRIBUTES)):
        stated = image.kind[column]
        there = {other.kind[column] for other in chosen}
        if attribute.poor(stated) or stated not in there:
            text = attribute.describe(stated)
            if len(there) == 1 and attribute.describe(chosen[0].kind[column]) != text:
                text += f" (taken: {attribute.describe(chosen[0].kind[column])})"
            return Reason(ReasonCode.OTHER_KIND, text)
    return Reason(ReasonCode.OTHER_KIND, "another pass over places that are analysed")


def _poor_word(image: Image) -> str:
    return next(
        attribute.describe(stated)
        for attribute, stated in zip(KIND_ATTRIBUTES, image.kind, strict=False)
        if attribute.poor(stated)
    )


def _chosen(stacks: list[_Stack]) -> tuple[list[_Stack], list[LeftOutImage]]:
    """The stacks to analyse, the largest first, and the left-out images of the others."""
    if not stacks:
        return [], []
    left_out: list[LeftOutImage] = []
    chosen: list[_Stack] = []
    main = max(stacks, key=_weight)
    for stack in sorted(stacks, key=lambda stack: (stack.grade, [-part for part in _weight(stack)])):
        better = [taken for taken in chosen if taken.grade < stack.grade]
        slabs = [slab_of_images([image.place for image in taken.images]) for taken in better]
        if slabs and all(covered(image.place, slabs) for image in stack.images):
            left_out += _other_kind(stack.images, better)
        elif stack is not main and not stack.usable:
            left_out += _too_small(stack, main)
        else:
            chosen.append(stack)
    chosen.sort(key=_weight, reverse=True)
    more = Reason(
        ReasonCode.LOWER_RANK, f"the series has more than {MAX_STACKS} stacks; the largest were analysed"
    )
    left_out += [LeftOutImage(image, more) for stack in chosen[MAX_STACKS:] for image in stack.images]
    return chosen[:MAX_STACKS], left_out


def _weight(stack: _Stack) -> tuple[int, ...]:
    return int(stack.usable), len(stack.images), *(-part for part in stack.grade)


def _too_small(stack: _Stack, main: _Stack) -> list[LeftOutImage]:
    place, other = stack.images[0].place, main.images[0].place
    cosine = min(1.0, abs(float(np.dot(place.normal, other.normal))))
    if cosine < _SCOUT_COS:
        scout = Reason(ReasonCode.LOCALIZER, "a localizer by its orientation")
        return [LeftOutImage(image, scout, alien=True) for image in stack.images]
    angle = f"slices turned by {np.rad2deg(np.arccos(cosine)):.0f} degrees"
    if (place.rows, place.columns) != (other.rows, other.columns):
        text = f"another matrix, {place.rows} (0028,0010) Rows x {place.columns} (0028,0011) Columns"
    elif max(abs(a - b) for a, b in zip(place.spacing_mm, other.spacing_mm, strict=True)) > _SAME_SPACING_MM:
        text = f"another pixel size, (0028,0030) {place.spacing_mm[0]:.3g} mm"
    else:
        text = angle if cosine < np.cos(np.deg2rad(0.5)) else "another grid beside the other slices"
    reason = Reason(ReasonCode.INCONSISTENT_GEOMETRY, f"{text}, and too few for an answer of their own")
    return [LeftOutImage(image, reason) for image in stack.images]
