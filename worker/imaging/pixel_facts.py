"""Cheap facts about a volume that hold without any network; ``worker.eligibility`` says what follows."""

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from neurotriage.core.volume import Volume
from worker.eligibility import CtSection, Extent, PixelFacts
from worker.imaging.head import BODY_HU, largest_object

_FLAT_GRADIENT_PER_MM: Final = 0.01  # relative to the object's median signal
_RIM_MM: Final = 6.0  # skin and partial volume, left out of the inside
# Of the pixels as they are. Sections of a volume are measured on averaged copies, where bone is thinner and
# fat runs into brain; they have limits of their own (``worker.vision.slices.sections``).
_SOFT_HU: Final = (0.0, 100.0)  # cerebrospinal fluid to acute blood
_BONE_HU: Final = 250.0
_RING_SECTORS: Final = 36
_RING_MIN_RADIUS_MM: Final = 35.0
_SAMPLED_SLICES: Final = 24  # facts are medians: more slices only cost time
_SMALLEST_OBJECT_MM2: Final = 2000.0
_EMPTY_SHARE: Final = 0.1  # of the largest standard deviation of a slice; a slice below it shows only air


def extent(volume: Volume) -> Extent:
    """How many slices over which length, and the matrix in pixels and mm."""
    count, rows, columns = volume.voxels.shape
    length_mm = float(np.linalg.norm(volume.positions_mm[-1] - volume.positions_mm[0]))
    return Extent(count, length_mm + volume.thickness_mm, rows, columns, volume.pixel_spacing_mm)


def sampled_slices(volume: Volume) -> NDArray[np.float32]:
    """At most 24 slices of a volume, evenly spread: (n, rows, columns)."""
    step = -(-len(volume.voxels) // _SAMPLED_SLICES)
    sample: NDArray[np.float32] = volume.voxels[step // 2 :: step]
    return sample


def pixel_facts(volume: Volume) -> PixelFacts:
    """Measure the pixels of a volume: about 10 ms a slice, at most 24 slices evenly spread."""
    sampled = sampled_slices(volume)
    is_ct = volume.modality == "CT"
    threshold = BODY_HU if is_ct else _object_threshold(sampled)
    spacing_mm = volume.pixel_spacing_mm
    objects = [(pixels, largest_object(pixels > threshold)) for pixels in sampled]
    pixel_mm2 = spacing_mm[0] * spacing_mm[1]
    large = [(pixels, mask) for pixels, mask in objects if mask.sum() * pixel_mm2 > _SMALLEST_OBJECT_MM2]
    return PixelFacts(
        correlation=neighbour_correlation(sampled),
        blank=bool(np.ptp(sampled) == 0),
        flatness=0.0 if is_ct else _median(_flatness(pixels, mask, spacing_mm) for pixels, mask in large),
        extent_mm=_extent_mm([mask for _, mask in large], spacing_mm),
        air_percentile_hu=float(np.percentile(sampled, 1)) if is_ct else None,
        ct_sections=tuple(_ct_section(*each, spacing_mm) for each in objects) if is_ct else (),
    )


def neighbour_correlation(slices: Iterable[NDArray[np.float32]]) -> float:
    """Pearson correlation of neighbouring pixels, the smaller of both directions.

    The median over those slices (rows, columns) that hold a picture: air is noise in every series. 0 where
    none does.
    """
    spreads_and_values = [(float(pixels.std()), _correlation(pixels)) for pixels in slices]
    most = max((spread for spread, _ in spreads_and_values), default=0.0)
    return _median(value for spread, value in spreads_and_values if 0 < most * _EMPTY_SHARE <= spread)


def _ct_section(
    pixels: NDArray[np.float32], mask: NDArray[np.bool_], spacing_mm: tuple[float, float]
) -> CtSection:
    if not mask.any():
        return CtSection(0.0, 0.0, 0.0)
    inside = pixels[mask]
    soft = float(((inside > _SOFT_HU[0]) & (inside < _SOFT_HU[1])).mean())
    return CtSection(max(_extent_mm([mask], spacing_mm)), soft, _bone_ring(pixels, mask, spacing_mm))


def _median(values: Iterable[float]) -> float:
    """0 of none."""
    listed = list(values)
    return float(np.median(listed)) if listed else 0.0


def _correlation(pixels: NDArray[np.float32]) -> float:
    """Of each pixel with its neighbour, the smaller of both directions; 0 where it is undefined."""
    pairs = ((pixels[1:], pixels[:-1]), (pixels[:, 1:], pixels[:, :-1]))
    return min(_pearson(a.ravel().astype(np.float64), b.ravel().astype(np.float64)) for a, b in pairs)


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


def _flatness(pixels: NDArray[np.float32], mask: NDArray[np.bool_], spacing_mm: tuple[float, float]) -> float:
    inside = ndimage.binary_erosion(mask, iterations=max(1, round(_RIM_MM / min(spacing_mm))))
    if not inside.any():
        return 0.0
    level = max(float(np.median(pixels[inside])), float(np.finfo(np.float32).tiny))
    along_rows, along_columns = np.gradient(pixels, *spacing_mm)
    return float((np.hypot(along_rows, along_columns)[inside] / level < _FLAT_GRADIENT_PER_MM).mean())


def _extent_mm(masks: list[NDArray[np.bool_]], spacing_mm: tuple[float, float]) -> tuple[float, float]:
    if not masks:
        return 0.0, 0.0
    sides = [[int(np.ptp(np.flatnonzero(mask.any(axis=1 - axis)))) + 1 for axis in (0, 1)] for mask in masks]
    rows_px, columns_px = np.percentile(sides, 90, axis=0)
    return float(rows_px) * spacing_mm[0], float(columns_px) * spacing_mm[1]


def _bone_ring(
    pixels: NDArray[np.float32], mask: NDArray[np.bool_], spacing_mm: tuple[float, float]
) -> float:
    """Share of the directions from the object's centre in which bone lies well away from the centre."""
    middle_row, middle_column = (float(np.mean(places)) for places in np.nonzero(mask))
    rows, columns = np.nonzero((pixels > _BONE_HU) & mask)
    down, right = (rows - middle_row) * spacing_mm[0], (columns - middle_column) * spacing_mm[1]
    far = np.hypot(down, right) > _RING_MIN_RADIUS_MM
    sectors = ((np.arctan2(down, right)[far] + np.pi) / (2 * np.pi) * _RING_SECTORS).astype(int)
    return len(np.unique(sectors % _RING_SECTORS)) / _RING_SECTORS
