"""Cheap facts about a volume's pixels that hold without any model.

They turn away what no model should see: random numbers, blank pictures, a phantom's flat inside, an empty
skull, a trunk. What passes may still be no head: the model's own eligibility check comes after.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from neurotriage.core.values import Reason, ReasonCode
from neurotriage.core.volume import Volume

# Of 2D pictures of the body at any field strength the correlation of neighbouring pixels is 0.8 or more, of
# random numbers it is 0 (measured on the development studies).
NOISE_CORRELATION: Final = 0.4
# Share of an object's inside with almost no gradient: heads 0.02 to 0.21, an MR phantom's liquid 0.69.
PHANTOM_FLATNESS: Final = 0.45
_FLAT_GRADIENT_PER_MM: Final = 0.01  # relative to the object's median signal
_RIM_MM: Final = 6.0  # skin and partial volume, left out of the inside
# Heads are 110 to 250 mm in each direction of a slice; near the vertex smaller, with hair and ears wider.
_MIN_HEAD_MM: Final = 60.0
MAX_HEAD_MM: Final = 300.0
# A CT slice counts as head where its inside is soft tissue, within bone all round (Hounsfield units).
_BODY_HU: Final = -300.0
_SOFT_HU: Final = (0.0, 100.0)  # cerebrospinal fluid to acute blood
_BONE_HU: Final = 250.0
MIN_SOFT_SHARE: Final = 0.35
MIN_BONE_RING: Final = 0.6
_RING_SECTORS: Final = 36
_RING_MIN_RADIUS_MM: Final = 35.0
# Air is -1000 HU, fat -100 HU. A CT whose darkest hundredth is above this shows neither: it is not in HU.
_DARKEST_HU: Final = -50.0
# Part of the slices that must look like a head: a head and neck series may hold more neck than head.
MIN_HEAD_SLICES: Final = 0.2
# Enough neighbouring slices to tell a lesion from a partial volume effect, and a third of a brain's height.
MIN_SLICES: Final = 5
MIN_COVERAGE_MM: Final = 25.0
# A 5 mm lesion must cover more than one pixel; a matrix below 64 is a cut-out or a map.
MAX_PIXEL_MM: Final = 4.0
MIN_SIDE_PX: Final = 64
MIN_FIELD_OF_VIEW_MM: Final = 100.0
_SAMPLED_SLICES: Final = 24  # facts are medians: more slices only cost time
_SMALLEST_OBJECT_MM2: Final = 2000.0


@dataclass(frozen=True, slots=True)
class PixelFacts:
    """What was measured. Medians over the sampled slices where not said otherwise."""

    correlation: float  # of neighbouring pixels, the smaller of both directions
    blank: bool  # all pixels of the volume have one value
    flatness: float  # MR: share of the object's inside without gradient
    extent_mm: tuple[float, float]  # of the object along rows and columns, 90th percentile of the slices
    air_percentile_hu: float | None  # CT: first percentile of all values
    head_slices: float | None  # CT: share of slices with soft tissue within a ring of bone


def judge_pixels(volume: Volume) -> Reason | None:
    """Why a volume is not analysed (NOISE, NOT_A_HEAD, HEADER_CONTRADICTS_PIXELS), or None."""
    return judge(pixel_facts(volume))


def judge(facts: PixelFacts) -> Reason | None:
    """``judge_pixels`` for facts already measured."""
    if facts.blank:
        return Reason(ReasonCode.UNREADABLE_PIXELS, "all pixels have the same value")
    if facts.correlation < NOISE_CORRELATION:
        figure = f"neighbouring pixels correlate by {facts.correlation:.2f}, in pictures by 0.8 or more"
        return Reason(ReasonCode.NOISE, f"the pixels are noise: {figure}")
    if facts.air_percentile_hu is not None and facts.air_percentile_hu > _DARKEST_HU:
        figure = f"the darkest hundredth is {facts.air_percentile_hu:.0f}, air is -1000"
        sentence = f"the header says CT, but the values are no Hounsfield units: {figure}"
        return Reason(ReasonCode.HEADER_CONTRADICTS_PIXELS, sentence)
    return _not_a_head(facts)


def _not_a_head(facts: PixelFacts) -> Reason | None:
    if max(facts.extent_mm) > MAX_HEAD_MM and not facts.head_slices:
        return _no_head(f"the object is {max(facts.extent_mm):.0f} mm wide, too large for a head")
    if max(facts.extent_mm) < _MIN_HEAD_MM:
        return _no_head(f"the largest object is {max(facts.extent_mm):.0f} mm wide, too small for a head")
    if facts.head_slices is not None and facts.head_slices < MIN_HEAD_SLICES:
        return _no_head(f"{facts.head_slices:.0%} of the slices show soft tissue within a ring of bone")
    if facts.flatness > PHANTOM_FLATNESS:
        return _no_head(f"{facts.flatness:.0%} of the inside is flat, as in a phantom")
    return None


def judge_extent(volume: Volume) -> Reason | None:
    """TOO_FEW_SLICES or TOO_COARSE where a volume holds too little of a head for an answer, or None."""
    count = len(volume.voxels)
    covered_mm = float(np.linalg.norm(volume.positions_mm[-1] - volume.positions_mm[0])) + volume.thickness_mm
    if count < MIN_SLICES:
        return Reason(ReasonCode.TOO_FEW_SLICES, f"{count} of at least {MIN_SLICES} slices")
    if covered_mm < MIN_COVERAGE_MM:
        needed = f"{MIN_COVERAGE_MM:.0f} mm or more are needed"
        return Reason(ReasonCode.TOO_FEW_SLICES, f"the slices cover {covered_mm:.0f} mm; {needed}")
    _, rows, columns = volume.voxels.shape
    field_mm = min(rows * volume.pixel_spacing_mm[0], columns * volume.pixel_spacing_mm[1])
    if min(rows, columns) < MIN_SIDE_PX or field_mm < MIN_FIELD_OF_VIEW_MM:
        size = f"{rows} x {columns} pixels, {field_mm:.0f} mm"
        return Reason(ReasonCode.TOO_COARSE, f"the picture is too small: {size}")
    if max(volume.pixel_spacing_mm) > MAX_PIXEL_MM:
        return Reason(
            ReasonCode.TOO_COARSE, f"pixels of {max(volume.pixel_spacing_mm):.1f} mm are too coarse"
        )
    return None


def pixel_facts(volume: Volume) -> PixelFacts:
    """Measure a volume. Shape (slices, rows, columns); about 10 ms a slice, at most 24 slices are read."""
    step = -(-len(volume.voxels) // _SAMPLED_SLICES)
    sampled = volume.voxels[step // 2 :: step]
    is_ct = volume.modality == "CT"
    threshold = _BODY_HU if is_ct else _object_threshold(sampled)
    spacing = volume.pixel_spacing_mm
    objects = [(pixels, _largest_object(pixels > threshold)) for pixels in sampled]
    large = [(p, mask) for p, mask in objects if mask.sum() * spacing[0] * spacing[1] > _SMALLEST_OBJECT_MM2]
    heads = [_is_ct_head(pixels, mask, spacing) for pixels, mask in objects] if is_ct else []
    return PixelFacts(
        correlation=_median((_correlation(pixels) for pixels in sampled if np.ptp(pixels) > 0), 0.0),
        blank=bool(np.ptp(sampled) == 0),
        flatness=0.0 if is_ct else _median((_flatness(p, mask, spacing) for p, mask in large), 0.0),
        extent_mm=_extent_mm([mask for _, mask in large], spacing),
        air_percentile_hu=float(np.percentile(sampled, 1)) if is_ct else None,
        head_slices=sum(heads) / len(heads) if is_ct else None,
    )


def _median(values: Iterable[float], default: float) -> float:
    found = list(values)
    return float(np.median(found)) if found else default


def _correlation(pixels: NDArray[np.float32]) -> float:
    """Of each pixel with its neighbour, the smaller of both directions; 0 where it is undefined."""
    pairs = ((pixels[1:], pixels[:-1]), (pixels[:, 1:], pixels[:, :-1]))
    found = [_pearson(a.ravel().astype(np.float64), b.ravel().astype(np.float64)) for a, b in pairs]
    return min(found)


def _pearson(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    spread = a.std() * b.std()
    return float(np.mean((a - a.mean()) * (b - b.mean())) / spread) if spread > 0 else 0.0


def _object_threshold(voxels: NDArray[np.float32]) -> float:
    """Half of Otsu's threshold (IEEE Trans. Syst. Man Cybern. 9, 1979) of the signal above zero."""
    positive = voxels[voxels > 0]
    if positive.size == 0 or np.ptp(positive) == 0:
        return 0.0
    counts, edges = np.histogram(np.minimum(positive, np.percentile(positive, 99.5)), 256)
    centres = (edges[:-1] + edges[1:]) / 2
    below, mass = np.cumsum(counts), np.cumsum(counts * centres)
    above = below[-1] - below
    valid = (below > 0) & (above > 0)
    between = np.zeros(len(centres))
    between[valid] = (mass[-1] * below[valid] / below[-1] - mass[valid]) ** 2 / (below[valid] * above[valid])
    return float(centres[int(np.argmax(between))]) / 2


def _largest_object(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected part, its holes filled."""
    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    largest = int(np.argmax(np.bincount(labels.ravel())[1:])) + 1
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(labels == largest)
    return filled


def _flatness(pixels: NDArray[np.float32], mask: NDArray[np.bool_], spacing: tuple[float, float]) -> float:
    inside = ndimage.binary_erosion(mask, iterations=max(1, round(_RIM_MM / min(spacing))))
    if not inside.any():
        return 0.0
    level = max(float(np.median(pixels[inside])), float(np.finfo(np.float32).tiny))
    along_rows, along_columns = np.gradient(pixels, *spacing)
    return float((np.hypot(along_rows, along_columns)[inside] / level < _FLAT_GRADIENT_PER_MM).mean())


def _extent_mm(masks: list[NDArray[np.bool_]], spacing: tuple[float, float]) -> tuple[float, float]:
    if not masks:
        return 0.0, 0.0
    sides = [[int(np.ptp(np.flatnonzero(mask.any(axis=1 - axis)))) + 1 for axis in (0, 1)] for mask in masks]
    rows_px, columns_px = np.percentile(sides, 90, axis=0)
    return float(rows_px) * spacing[0], float(columns_px) * spacing[1]


def _is_ct_head(pixels: NDArray[np.float32], mask: NDArray[np.bool_], spacing: tuple[float, float]) -> bool:
    """Soft tissue within bone all round, of a head's size."""
    if not mask.any() or max(_extent_mm([mask], spacing)) > MAX_HEAD_MM:
        return False
    inside = pixels[mask]
    soft = float(((inside > _SOFT_HU[0]) & (inside < _SOFT_HU[1])).mean())
    return soft >= MIN_SOFT_SHARE and _bone_ring(pixels, mask, spacing) >= MIN_BONE_RING


def _bone_ring(pixels: NDArray[np.float32], mask: NDArray[np.bool_], spacing: tuple[float, float]) -> float:
    """Share of the directions from the object's centre in which bone lies well away from the centre."""
    middle_row, middle_column = (float(np.mean(places)) for places in np.nonzero(mask))
    rows, columns = np.nonzero((pixels > _BONE_HU) & mask)
    down, right = (rows - middle_row) * spacing[0], (columns - middle_column) * spacing[1]
    far = np.hypot(down, right) > _RING_MIN_RADIUS_MM
    sectors = ((np.arctan2(down, right)[far] + np.pi) / (2 * np.pi) * _RING_SECTORS).astype(int)
    return len(np.unique(sectors % _RING_SECTORS)) / _RING_SECTORS


def _no_head(sentence: str) -> Reason:
    return Reason(ReasonCode.NOT_A_HEAD, sentence)
