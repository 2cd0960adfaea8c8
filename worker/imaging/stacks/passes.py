"""Images of one grid to kinds and passes, each with at most one image at a place.

Two kinds exist where images share places: an attribute that varies without that is variation by slice,
package or block. So values are walked in the order of their rank; each joins the kind before it unless they
overlap.
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

# Slices of two values that lie nearer than this share of a step show the same: a second pass between the
# slices of a first one. Packages that interleave leave room for each other.
_OVERLAP: Final = 0.75
# Packages of one scan may have a slice in common where they meet; two kinds have more.
_ENOUGH: Final = 2
# A pass of fewer slices than this, beside one of more than twice as many, is a matter of wrong positions.
_MIN_IMAGES: Final = 3
_KEYS: Final = ("temporal position", "time offset", "acquisition", "acquisition time")

Places = Mapping[
    tuple[str, int | None], float
]  # by the images' keys: where they lie along their normal, in mm


@dataclass(frozen=True, slots=True)
class Kind:
    """Images of one kind and pass."""

    images: tuple[Image, ...]  # at one place there may still be several that nothing tells apart
    passes: int = 1  # that its places have of this kind
    keyed: bool = True  # told apart from the other passes by more than what a device may count images by
    stray: bool = False  # of few places only, and told apart by nothing else: the positions cannot be trusted


def kinds_of(images: Sequence[Image], places: Places) -> list[Kind]:
    """The kinds of one grid, best first."""
    groups = [list(images)]
    for column, attribute in enumerate(KIND_ATTRIBUTES):
        groups = [part for group in groups for part in _divided(group, column, attribute, places)]
    return [kind for group in groups for kind in _passes(group, places)]


def poor(image: Image) -> bool:
    """Whether an image shows a part of the signal that is never taken beside a better one."""
    return any(attribute.poor(stated) for attribute, stated in zip(KIND_ATTRIBUTES, image.kind, strict=False))


def _passes(images: list[Image], places: Places) -> list[Kind]:
    """The most complete pass first, of equal ones the latest."""
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
        own = {places[image.key] for image in group}
        if kinds and not attribute.poor(stated) and not _overlap(kinds[-1], (group, own), attribute):
            kinds[-1][0].extend(group)
            kinds[-1][1].update(own)
        else:
            kinds.append((list(group), own))
    everywhere = len({places[image.key] for image in images})
    if attribute.weak and 2 * max(len(own) for _, own in kinds) < everywhere:
        return [images]  # a count that runs on from place to place parts no passes
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
    """Whether more than the ends of two packages lie at the same places."""
    smaller = min(len(kind[1]), len(group[1]))
    enough = -(-smaller // 2) if attribute in PASS_ATTRIBUTES else min(smaller, _ENOUGH)
    if len(kind[1] & group[1]) >= enough:
        return True
    if attribute.weak or smaller < _ENOUGH:
        return False
    one, other = (np.array(sorted(own)) for own in (kind[1], group[1]))
    thickness_mm = [image.place.thickness_mm or np.inf for image in (*kind[0], *group[0])]
    limit_mm = _OVERLAP * min(float(np.median(np.diff(one))), float(np.median(np.diff(other))), *thickness_mm)
    return max(_between(one, other, limit_mm), _between(other, one, limit_mm)) >= enough


def _between(one: NDArray[np.float64], other: NDArray[np.float64], limit_mm: float) -> int:
    """How many of the others lie between the first and the last of one, nearer to one than the limit."""
    inside = other[(other > one[0]) & (other < one[-1])]
    return int((_nearest_mm(one, inside) < limit_mm).sum())


def _nearest_mm(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    places = np.searchsorted(one, other)
    before = np.abs(other - one[np.maximum(places - 1, 0)])
    after = np.abs(other - one[np.minimum(places, len(one) - 1)])
    return np.minimum(before, after)
