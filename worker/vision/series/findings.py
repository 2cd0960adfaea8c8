"""From the lesion maps of a series to findings: connected lesions with outline, size and side."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.distance import pdist

from neurotriage.core.values import Finding, Side
from neurotriage.core.volume import Volume
from worker.imaging.head import largest_component
from worker.vision.series.predict import InputGrid, SlicePredictions
from worker.vision.slices.sections import Sections

MIDLINE_MM = 7.0  # a lesion whose centre lies closer to the mid-sagittal plane has no side
MAX_LESIONS = 5  # further ones are too small to matter beside these
SMALLEST_PIECE_MM2 = 10.0  # a smaller piece of a lesion in a slice is the decoder's noise
CONTOUR_MARGIN_PX = 1  # a map is kept this far beyond its lesion: the contour runs between the pixels
NEAR_CENTRE_PX = 1e-3  # a contour keeps this distance from the centres of pixels

Point = tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Lesion:
    """A connected region of the lesion maps, on the network's grid."""

    region: NDArray[np.bool_]  # (n, h, w) over the network's input
    volume_mm3: float

    @property
    def rows(self) -> NDArray[np.intp]:
        """The slices it lies on: indices from 0 to n - 1, ascending."""
        touched: NDArray[np.intp] = np.flatnonzero(self.region.any((1, 2)))
        return touched


def find_lesions(
    maps: NDArray[np.float32], level: float, pixel_mm2: float, steps_mm: NDArray[np.float64]
) -> tuple[Lesion, ...]:
    """Connected lesions of maps (n, h, w) above ``level``, largest first, ``MAX_LESIONS`` at most.

    ``pixel_mm2``: area of a pixel of the maps; ``steps_mm`` (n,): part of the slice axis that each slice
    stands for.
    """
    labels, count = ndimage.label(maps > level, np.ones((3, 3, 3)))
    slice_mm3 = (pixel_mm2 * steps_mm)[:, None, None]
    lesions = []
    for number in range(1, count + 1):
        region = labels == number
        lesions.append(Lesion(region, float((region * slice_mm3).sum())))
    return tuple(sorted(lesions, key=lambda lesion: -lesion.volume_mm3)[:MAX_LESIONS])


def describe(
    volume: Volume,
    predictions: SlicePredictions,
    maps: NDArray[np.float32],
    level: float,
    lesions: tuple[Lesion, ...],
    sections: Sections,
) -> tuple[Finding, ...]:
    """One finding per lesion and slice, in the order of lesions and slices; ``maps`` (n, h, w) as outlined.

    Pieces smaller than ``SMALLEST_PIECE_MM2`` make no finding.
    """
    return tuple(
        finding
        for number, lesion in enumerate(lesions, start=1)
        for finding in _of_lesion(volume, predictions, maps, level, lesion, number, sections)
    )


def _of_lesion(
    volume: Volume,
    predictions: SlicePredictions,
    maps: NDArray[np.float32],
    level: float,
    lesion: Lesion,
    number: int,
    sections: Sections,
) -> Iterator[Finding]:
    rows = lesion.rows
    others_off = lesion_maps(maps, (lesion,))[rows]
    side = side_of(volume, predictions.grid, lesion, predictions.indices, sections)
    pixel_mm2 = volume.pixel_spacing_mm[0] * volume.pixel_spacing_mm[1]
    for row, field in zip(rows, predictions.grid.on_source(others_off), strict=True):
        piece = largest_component(field > level)
        if piece.sum() * pixel_mm2 < SMALLEST_PIECE_MM2:
            continue
        outline = contour(np.where(ndimage.binary_dilation(piece, np.ones((3, 3), bool)), field, 0.0), level)
        index = int(predictions.indices[row])
        source = volume.sources[index]
        yield Finding(
            lesion=number,
            series_instance_uid=volume.series_instance_uid,
            sop_instance_uid=source.sop_instance_uid,
            frame=source.frame,
            slice_index=index,
            box=box_of(piece),
            outline=outline,
            size_mm=largest_extent_mm(outline, volume.pixel_spacing_mm),
            side=side,
            probability=float(predictions.tumour[row]),
        )


def lesion_maps(maps: NDArray[np.float32], lesions: Sequence[Lesion]) -> NDArray[np.float32]:
    """Maps (n, h, w) set to 0 outside the lesions and a margin of ``CONTOUR_MARGIN_PX``."""
    inside = np.zeros(maps.shape, bool)
    for lesion in lesions:
        inside |= lesion.region
    near = ndimage.binary_dilation(
        inside, np.ones((1, 2 * CONTOUR_MARGIN_PX + 1, 2 * CONTOUR_MARGIN_PX + 1), bool)
    )
    return np.where(near, maps, np.float32(0))


def box_of(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of a mask that is not empty; end exclusive."""
    y, x = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(x[0]), int(y[0]), int(x[-1]) + 1, int(y[-1]) + 1


def largest_extent_mm(outline: tuple[Point, ...], spacing_mm: tuple[float, float]) -> float:
    """Largest distance between two points of an outline of (x, y) (maximum Feret diameter)."""
    points_mm = np.array(outline) * np.array([spacing_mm[1], spacing_mm[0]])
    return float(pdist(points_mm).max())


def side_of(
    volume: Volume, grid: InputGrid, lesion: Lesion, indices: NDArray[np.intp], sections: Sections
) -> Side:
    """The patient's side of a lesion, by its distance from the middle of the head (centre of its sections).

    ``indices`` (n,): the slices of the volume that the lesion's slices are.
    """
    head_mm = [volume.to_patient_mm(c, r, i)[0] for i, (r, c) in enumerate(sections.centre_px)]
    middle_mm = float(np.average(head_mm, weights=sections.area_mm2 + 1e-9))
    rows = lesion.rows
    masses = grid.on_source(lesion.region[rows].astype(np.float32))
    lesion_mm, weights = [], []
    for row, mass in zip(rows, masses, strict=True):
        if mass.any():
            r, c = ndimage.center_of_mass(mass)
            lesion_mm.append(volume.to_patient_mm(c, r, int(indices[row]))[0])
            weights.append(float(mass.sum()))
    offset_mm = float(np.average(lesion_mm, weights=weights)) - middle_mm
    if abs(offset_mm) < MIDLINE_MM:
        return Side.MIDLINE
    return Side.LEFT if offset_mm > 0 else Side.RIGHT


def contour(field: NDArray[np.floating], level: float) -> tuple[Point, ...]:
    """The longest closed line of a field (rows, columns) at ``level``, as points (x, y); first = last.

    Marching squares (Lorensen and Cline, SIGGRAPH 1987, in two dimensions). The field is taken to be 0
    around the image, so every line closes. Whole numbers are the edges of pixels, as in a box and in an SR's
    coordinates (PS3.3 C.18.6): the centre of the first pixel is (0.5, 0.5). Empty where
    nothing lies above the level.
    """
    padded = np.pad(np.asarray(field, np.float64), 1)
    following = dict(_segments(padded, level))
    lines: list[list[Point]] = []
    while following:
        start, point = following.popitem()
        line = [start, point]
        while point != start:
            point = following.pop(point)
            line.append(point)
        lines.append(line)
    longest = max(lines, key=len, default=[])
    return tuple((x - 0.5, y - 0.5) for x, y in longest)  # padding - 1, centre of a pixel + 0.5


# Corners of a cell in turn: top left, top right, bottom right, bottom left, as (row, column).
_CORNERS = ((0, 0), (0, 1), (1, 1), (1, 0))


def _segments(field: NDArray[np.float64], level: float) -> Iterator[tuple[Point, Point]]:
    """Directed pieces of the contour in each cell of four pixels; above the level is on their right."""
    above = field > level
    counts = sum(above[r : r + len(field) - 1, c : c + field.shape[1] - 1].astype(int) for r, c in _CORNERS)
    for y, x in np.argwhere((counts > 0) & (counts < 4)):
        corners = [(int(y) + r, int(x) + c) for r, c in _CORNERS]
        entries: list[Point] = []
        exits: list[Point] = []
        for corner, following in zip(corners, corners[1:] + corners[:1], strict=True):
            if above[corner] != above[following]:
                (exits if above[corner] else entries).append(_crossing(field, corner, following, level))
        # Two separate corners above (a saddle): each keeps its own piece.
        if len(entries) == 2 and above[corners[0]]:
            exits = exits[1:] + exits[:1]
        yield from zip(entries, exits, strict=True)


def _crossing(
    field: NDArray[np.float64], corner: tuple[int, int], following: tuple[int, int], level: float
) -> Point:
    """Where the field reaches the level between two pixels; the same point from either side."""
    first, second = sorted((corner, following))
    # At a pixel's centre the crossings of several edges would coincide, so they keep a distance.
    share = np.clip(
        (level - field[first]) / (field[second] - field[first]), NEAR_CENTRE_PX, 1 - NEAR_CENTRE_PX
    )
    y, x = first[0] + share * (second[0] - first[0]), first[1] + share * (second[1] - first[1])
    return float(x), float(y)
