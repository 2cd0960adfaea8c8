"""Whether the part of the head that an image shows lies within analysed slices."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from neurotriage.core.volume import Volume
from neurotriage.dicom.geometry import FrameGeometry

PLACE_TOLERANCE_MM: Final = 0.1  # positions are rounded; the thinnest real step is 0.4 mm
# An image is tested at nine points around its centre, this share of its sides apart, where the head is.
_SPREAD: Final = 1 / 3
_NEAR_PARALLEL: Final = float(np.cos(np.deg2rad(30.0)))
_ALONG: Final = 1e-9  # a line that comes no nearer to a plane
_SAME_DIRECTION: Final = float(np.sin(np.deg2rad(0.5)))  # for rounding by scanners


@dataclass(frozen=True, slots=True, eq=False)
class Slab:
    """The space that the slices of one stack fill, in the patient coordinate system (PS3.3 C.7.6.2.1.1)."""

    row_direction: NDArray[np.float64]  # (3,) of increasing column index
    column_direction: NDArray[np.float64]  # (3,) of increasing row index
    corners_mm: NDArray[np.float64]  # (n, 3) centres of the first pixels, ascending along the normal
    size_mm: tuple[float, float]  # along the row direction, along the column direction
    matrix: tuple[int, int]  # rows, columns
    half_mm: float  # half the thickness, or half the median step where that is larger
    thickness_mm: float  # the median step where no thickness is stated

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit normal of the slices, shaped (3,)."""
        return np.cross(self.row_direction, self.column_direction)

    def holds(self, points_mm: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether each of the points (m, 3) in mm lies in a slice and its field of view: bool (m,)."""
        along, offsets = points_mm @ self.normal, self.corners_mm @ self.normal
        nearest = np.abs(along[:, None] - offsets[None, :]).argmin(1)
        near = np.abs(along - offsets[nearest]) <= self.half_mm + PLACE_TOLERANCE_MM
        inside: NDArray[np.bool_] = self._across(points_mm, nearest) & near
        return inside

    def lines_along(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Nine points (9, 3) in mm around the middle of the first slice, and the direction of the stack (3,).

        The direction is as long as brings one 1 mm along the normal; in a sheared stack it is not the normal.
        """
        around = _around(self.row_direction * self.size_mm[0], self.column_direction * self.size_mm[1])
        way = self.corners_mm[-1] - self.corners_mm[0]
        depth_mm = float(way @ self.normal)
        return self.corners_mm[0] + around, way / depth_mm if depth_mm > 0 else self.normal

    def seen_along(
        self, points_mm: NDArray[np.float64], direction: NDArray[np.float64], half_mm: float
    ) -> NDArray[np.float64]:
        """Where lines through points (m, 3) lie in slices of ``half_mm`` to either side: (m, n, 2).

        Beginning and end for each of the n slices, in lengths of ``direction`` (3,) from the point. A line
        that misses a slice ends before it begins.
        """
        seen = np.empty((len(points_mm), len(self.corners_mm), 2))
        seen[...] = -np.inf, np.inf
        from_corners = points_mm[:, None] - self.corners_mm
        for axis, low, high in (
            (self.normal, -half_mm, half_mm),
            (self.row_direction, 0.0, self.size_mm[0]),
            (self.column_direction, 0.0, self.size_mm[1]),
        ):
            at, speed = from_corners @ axis, float(direction @ axis)
            if abs(speed) < _ALONG:
                seen[(at < low) | (at > high)] = np.inf, -np.inf
                continue
            ways = np.sort(np.stack([(low - at) / speed, (high - at) / speed], axis=-1), axis=-1)
            seen[..., 0] = np.maximum(seen[..., 0], ways[..., 0])
            seen[..., 1] = np.minimum(seen[..., 1], ways[..., 1])
        return seen

    def _across(self, points_mm: NDArray[np.float64], slices: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Whether each point lies in the field of view of its slice, whatever its depth: bool (m,)."""
        inside = np.ones(len(points_mm), bool)
        from_corner = points_mm - self.corners_mm[slices]
        for direction, side_mm in zip((self.row_direction, self.column_direction), self.size_mm, strict=True):
            across = from_corner @ direction
            inside &= (across >= 0) & (across <= side_mm)
        return inside

    def holds_centre_of(self, place: FrameGeometry) -> bool:
        """Whether the centre of an image lies in a slice and its field of view."""
        return bool(self.holds(_centre_mm(place)[None])[0])

    def is_near_parallel_to(self, other: "FrameGeometry | Slab") -> bool:
        """Whether the normals differ by 30 degrees at most, the tilt of a gantry."""
        return abs(float(self.normal @ other.normal)) >= _NEAR_PARALLEL

    def in_row(self, place: FrameGeometry) -> bool:
        """Whether an image belongs among the slices: on their grid, or near-parallel and in a gap."""
        if not self.is_near_parallel_to(place):
            return False
        turned = np.abs([*self.row_direction, *self.column_direction] - np.array(place.orientation)).max()
        size_mm = (place.columns * place.spacing_mm[1], place.rows * place.spacing_mm[0])
        same = (place.rows, place.columns) == self.matrix and np.allclose(size_mm, self.size_mm, rtol=1e-3)
        if same and turned <= _SAME_DIRECTION:
            return True
        middle = np.array(self.size_mm) / 2
        first, last = (
            corner + self.row_direction * middle[0] + self.column_direction * middle[1]
            for corner in (self.corners_mm[0], self.corners_mm[-1])
        )
        at, low, high = (float(point @ self.normal) for point in (_centre_mm(place), first, last))
        return min(low, high) < at < max(low, high) and not self.holds_centre_of(place)


def slab_of_images(places: Sequence[FrameGeometry]) -> Slab:
    """The slab of images that share orientation, matrix and pixel size; at least one."""
    first = places[0]
    ordered = sorted(places, key=lambda place: float(np.dot(first.normal, place.position_mm)))
    thickness_mm = [place.thickness_mm for place in places if place.thickness_mm is not None]
    return _slab(
        np.array(first.orientation[:3]),
        np.array(first.orientation[3:]),
        np.array([place.position_mm for place in ordered]),
        (first.columns * first.spacing_mm[1], first.rows * first.spacing_mm[0]),
        (first.rows, first.columns),
        float(np.median(thickness_mm)) if thickness_mm else 0.0,
    )


def slab_of_volume(volume: Volume) -> Slab:
    """The slab of an analysed volume (slices, rows, columns)."""
    _, rows, columns = volume.voxels.shape
    return _slab(
        volume.row_direction,
        volume.column_direction,
        volume.positions_mm,
        (columns * volume.pixel_spacing_mm[1], rows * volume.pixel_spacing_mm[0]),
        (rows, columns),
        volume.thickness_mm,
    )


def covered(place: FrameGeometry, slabs: Sequence[Slab]) -> bool:
    """Whether all nine points of an image lie in one slab or another; False without slabs."""
    points = points_mm_of(place)
    inside = np.zeros(len(points), bool)
    for slab in slabs:
        inside |= slab.holds(points)
    return bool(inside.all())


def _slab(
    row: NDArray[np.float64],
    column: NDArray[np.float64],
    corners: NDArray[np.float64],
    size_mm: tuple[float, float],
    matrix: tuple[int, int],
    thickness_mm: float,
) -> Slab:
    steps = np.abs(np.diff(corners @ np.cross(row, column)))
    step_mm = float(np.median(steps)) if len(steps) else 0.0
    half_mm = max(thickness_mm, step_mm) / 2
    return Slab(row, column, corners, size_mm, matrix, half_mm, thickness_mm or step_mm)


def _centre_mm(place: FrameGeometry) -> NDArray[np.float64]:
    row, column = np.array(place.orientation[:3]), np.array(place.orientation[3:])
    across, down = (place.columns - 1) * place.spacing_mm[1] / 2, (place.rows - 1) * place.spacing_mm[0] / 2
    centre: NDArray[np.float64] = np.array(place.position_mm) + row * across + column * down
    return centre


def points_mm_of(place: FrameGeometry) -> NDArray[np.float64]:
    """The nine points (9, 3) in mm, around its centre, at which an image is tested."""
    row, column = np.array(place.orientation[:3]), np.array(place.orientation[3:])
    size_mm = (place.columns - 1) * place.spacing_mm[1], (place.rows - 1) * place.spacing_mm[0]
    points: NDArray[np.float64] = np.array(place.position_mm) + _around(row * size_mm[0], column * size_mm[1])
    return points


def _around(across_mm: NDArray[np.float64], down_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Nine points (9, 3) around the centre of a picture, from its corner."""
    shares = np.array([0.5 - _SPREAD, 0.5, 0.5 + _SPREAD])
    points: NDArray[np.float64] = across_mm * shares[:, None, None] + down_mm * shares[None, :, None]
    return points.reshape(-1, 3)
