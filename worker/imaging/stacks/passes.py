"""Divides the images of one grid into kinds and passes, each with at most one image per position.

Two kinds exist only where images share positions: an attribute that differs otherwise varies by slice,
package or block. Values are therefore taken in the order of their rank, and each joins the kind before it
unless the two overlap.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from worker.imaging.stacks.attributes import Value
from worker.imaging.stacks.image import Image
from worker.imaging.stacks.kinds import KIND_ATTRIBUTES, PASS_ATTRIBUTES, KindAttribute

# Slices of two values nearer than this share of a step show the same: a second pass between the slices of the
# first. Interleaved packages are further apart.
_OVERLAP: Final = 0.75
# Packages of one scan may share a slice where they meet; two kinds share more.
_ENOUGH: Final = 2
# A pass of fewer slices than this, beside one of more than twice as many, stems from wrong positions.
_MIN_IMAGES: Final = 3
_KEYS: Final = ("temporal position", "time offset", "acquisition", "acquisition time")

# Positions along the normal in mm, by the images' keys.
Places = Mapping[tuple[str, int | None], float]


@dataclass(frozen=True, slots=True)
class Kind:
    """Images of one kind and pass."""

    images: tuple[Image, ...]  # a position may still have several images that no attribute distinguishes
    passes: int = 1  # number of passes of this kind over its positions
    keyed: bool = True  # distinguished from the other passes by more than a running number
    stray: bool = False  # few images that only a running number distinguishes: their positions are wrong


def kinds_of(images: Sequence[Image], places: Places) -> list[Kind]:
    """The kinds and passes of one grid, the best first. ``places``: mm along the normal."""
    groups = [list(images)]
    for column, attribute in enumerate(KIND_ATTRIBUTES):
        groups = [part for group in groups for part in _divided(group, column, attribute, places)]
    return [kind for group in groups for kind in _passes(group, places)]


def poor(image: Image) -> bool:
    """Whether an image is of a kind that is analysed only without a better one: phase, fat, diffusion."""
    return any(attribute.poor(stated) for attribute, stated in zip(KIND_ATTRIBUTES, image.kind, strict=False))


def _passes(images: list[Image], places: Places) -> list[Kind]:
    """The most complete pass first, of equally complete ones the latest."""
    groups, keyed, weak = [images], True, False
    for column, attribute in enumerate(PASS_ATTRIBUTES, start=len(KIND_ATTRIBUTES)):
        parts = [part for group in groups for part in _divided(group, column, attribute, places)]
        if len(parts) > len(groups):
            keyed, weak = keyed and attribute.name in _KEYS, weak or attribute.weak
        groups = parts
    sizes = [len({places[image.key] for image in group}) for group in groups]
    order = sorted(range(len(groups)), key=lambda n: (-sizes[n], -n))
    full = sum(2 * size >= max(sizes) for size in sizes)
    return [
        Kind(tuple(groups[n]), full, keyed, 2 * sizes[n] < max(sizes) and (weak or sizes[n] < _MIN_IMAGES))
        for n in order
    ]


def _divided(images: list[Image], column: int, attribute: KindAttribute, places: Places) -> list[list[Image]]:
    if attribute.weak and len({places[image.key] for image in images}) == len(images):
        return [images]
    kinds: list[tuple[list[Image], set[float]]] = []
    for stated, group in _by_value(images, column, attribute):
        occupied = {places[image.key] for image in group}
        if kinds and not attribute.poor(stated) and not _overlap(kinds[-1], (group, occupied), attribute):
            kinds[-1][0].extend(group)
            kinds[-1][1].update(occupied)
        else:
            kinds.append((list(group), occupied))
    everywhere = len({places[image.key] for image in images})
    if attribute.weak and 2 * max(len(occupied) for _, occupied in kinds) < everywhere:
        return [images]  # a number that continues from position to position separates no passes
    return [kind for kind, _ in kinds]


def _by_value(images: list[Image], column: int, attribute: KindAttribute) -> list[tuple[Value, list[Image]]]:
    """Values in the order of their rank, each with its images; numbers within the tolerance are one."""
    groups: dict[Value, list[Image]] = {}
    for image in images:
        groups.setdefault(image.kind[column], []).append(image)
    numbers = sorted(stated for stated in groups if isinstance(stated, float | int))
    for before, after in pairwise(numbers):
        if after - before <= max(attribute.tolerance, attribute.relative * abs(after)):
            groups[after] = groups.pop(before) + groups[after]
    return sorted(groups.items(), key=lambda item: attribute.rank(item[0]))


def _overlap(
    kind: tuple[list[Image], set[float]], group: tuple[list[Image], set[float]], attribute: KindAttribute
) -> bool:
    """Whether two groups of images share more positions than packages that meet."""
    smaller = min(len(kind[1]), len(group[1]))
    enough = -(-smaller // 2) if attribute in PASS_ATTRIBUTES else min(smaller, _ENOUGH)
    if len(kind[1] & group[1]) >= enough:
        return True
    if attribute.weak or smaller < _ENOUGH:
        return False
    first, second = (np.array(sorted(occupied)) for occupied in (kind[1], group[1]))
    thickness_mm = [image.place.thickness_mm or np.inf for image in (*kind[0], *group[0])]
    steps_mm = (float(np.median(np.diff(positions))) for positions in (first, second))
    limit_mm = _OVERLAP * min(*steps_mm, *thickness_mm)
    return max(_between(first, second, limit_mm), _between(second, first, limit_mm)) >= enough


def _between(stack_mm: NDArray[np.float64], other_mm: NDArray[np.float64], limit_mm: float) -> int:
    """The number of other positions inside a sorted stack and nearer to one of its slices than the limit."""
    inside_mm = other_mm[(other_mm > stack_mm[0]) & (other_mm < stack_mm[-1])]
    return int((_nearest_mm(stack_mm, inside_mm) < limit_mm).sum())


def _nearest_mm(stack_mm: NDArray[np.float64], other_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """The distance of each other position to the nearest slice of a sorted stack."""
    indices = np.searchsorted(stack_mm, other_mm)
    before = np.abs(other_mm - stack_mm[np.maximum(indices - 1, 0)])
    after = np.abs(other_mm - stack_mm[np.minimum(indices, len(stack_mm) - 1)])
    return np.minimum(before, after)
