"""Frames lie where PS3.3 C.7.6.2.1.1 puts them, however the object states it."""

import itertools
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.valuerep import format_number_as_ds

from neurotriage.core.errors import Refused
from neurotriage.core.values import Reason, ReasonCode
from neurotriage.dicom.geometry import FrameGeometry, frames_of
from tests.core.made import instance, part10

pytestmark = pytest.mark.unit

Vector = tuple[float, float, float]

# A header holds 16 characters a number (PS3.5 6.2), so ten digits at least arrive.
_NEAR_MM = 1e-5


@dataclass(frozen=True)
class Grid:
    """An image plane: directions along a row and along a column, and the size of a pixel."""

    row: NDArray[np.float64]
    column: NDArray[np.float64]
    spacing_mm: tuple[float, float]  # between rows, between columns
    origin_mm: Vector

    @property
    def normal(self) -> NDArray[np.float64]:
        return np.cross(self.row, self.column)

    def position_mm(self, row: int, column: int) -> NDArray[np.float64]:
        """PS3.3 equation C.7.6.2.1-1: S + X * (column spacing) * column + Y * (row spacing) * row."""
        between_rows, between_columns = self.spacing_mm
        along_row, along_column = self.row * between_columns * column, self.column * between_rows * row
        position: NDArray[np.float64] = np.array(self.origin_mm) + along_row + along_column
        return position


@st.composite
def _grids(draw: st.DrawFn) -> Grid:
    """Any right-handed orientation, as the rotation of a unit quaternion."""
    parts = st.floats(-1, 1, allow_subnormal=False)
    quaternion = np.array(draw(st.tuples(parts, parts, parts, parts).filter(lambda q: np.dot(q, q) > 1e-3)))
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    row = np.array([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)])
    column = np.array([2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)])
    lengths, millimetres = st.floats(0.05, 5.0), st.floats(-2000, 2000)
    return Grid(
        row,
        column,
        draw(st.tuples(lengths, lengths)),
        draw(st.tuples(millimetres, millimetres, millimetres)),
    )


def _decimals(*numbers: float) -> list[str]:
    return [format_number_as_ds(float(number)) for number in numbers]


def _set_plane(target: Dataset, grid: Grid) -> None:
    target.ImageOrientationPatient = _decimals(*grid.row, *grid.column)
    target.PixelSpacing = _decimals(*grid.spacing_mm)


def _single(grid: Grid) -> Dataset:
    dataset = instance()
    _set_plane(dataset, grid)
    dataset.ImagePositionPatient = _decimals(*grid.origin_mm)
    return _reread(dataset)


def _enhanced(grid: Grid, offsets_mm: list[float], *, shared: bool) -> Dataset:
    """Frames at the given distances along the normal; the plane stands in shared or per-frame groups."""
    dataset = instance(NumberOfFrames=len(offsets_mm), PixelData=bytes(8 * len(offsets_mm)))
    common = Dataset()
    frames = []
    for offset_mm in offsets_mm:
        own, position = Dataset(), Dataset()
        position.ImagePositionPatient = _decimals(*(np.array(grid.origin_mm) + offset_mm * grid.normal))
        own.PlanePositionSequence = Sequence([position])
        frames.append(own)
    for group in [common] if shared else frames:
        plane, measures = Dataset(), Dataset()
        plane.ImageOrientationPatient = _decimals(*grid.row, *grid.column)
        measures.PixelSpacing = _decimals(*grid.spacing_mm)
        group.PlaneOrientationSequence = Sequence([plane])
        group.PixelMeasuresSequence = Sequence([measures])
    dataset.SharedFunctionalGroupsSequence = Sequence([common])
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    return _reread(dataset)


def _reread(dataset: Dataset) -> Dataset:
    return pydicom.dcmread(BytesIO(part10(dataset)))


def _frames(dataset: Dataset) -> list[FrameGeometry]:
    frames = frames_of(dataset, Path("unused"))
    assert not any(isinstance(frame, Reason) for frame in frames)
    return [frame for frame in frames if isinstance(frame, FrameGeometry)]


def _patient_position_mm(frame: FrameGeometry, row: int, column: int) -> NDArray[np.float64]:
    directions = np.array(frame.orientation[:3]), np.array(frame.orientation[3:])
    steps = directions[0] * frame.spacing_mm[1] * column, directions[1] * frame.spacing_mm[0] * row
    position: NDArray[np.float64] = np.array(frame.position_mm) + steps[0] + steps[1]
    return position


@settings(deadline=None, max_examples=40)
@given(_grids(), st.integers(0, 511), st.integers(0, 511))
def test_a_pixel_lies_where_the_equation_of_the_standard_puts_it(grid: Grid, row: int, column: int) -> None:
    (frame,) = _frames(_single(grid))
    found_mm = _patient_position_mm(frame, row, column)
    assert np.abs(found_mm - grid.position_mm(row, column)).max() < _NEAR_MM
    assert frame.normal @ frame.normal == pytest.approx(1)
    assert np.abs(frame.normal - grid.normal).max() < 1e-9
    assert frame.offset_mm == pytest.approx(float(grid.normal @ grid.origin_mm), abs=_NEAR_MM)


@settings(deadline=None, max_examples=20)
@given(_grids(), st.booleans())
def test_functional_groups_and_a_single_frame_state_the_same_place(grid: Grid, shared: bool) -> None:
    (single,) = _frames(_single(grid))
    (frame,) = _frames(_enhanced(grid, [0.0], shared=shared))
    assert (single.frame, frame.frame) == (None, 1)
    assert frame.position_mm == single.position_mm
    assert frame.orientation == single.orientation
    assert frame.spacing_mm == single.spacing_mm
    assert (frame.rows, frame.columns) == (single.rows, single.columns)


@settings(deadline=None, max_examples=20)
@given(_grids(), st.lists(st.integers(-500, 500), min_size=2, max_size=6, unique=True), st.booleans())
def test_offsets_order_frames_along_the_normal(grid: Grid, steps: list[int], shared: bool) -> None:
    offsets_mm = [0.25 * step for step in steps]
    frames = _frames(_enhanced(grid, offsets_mm, shared=shared))
    by_offset = sorted(frames, key=lambda frame: frame.offset_mm)
    assert [frame.frame for frame in by_offset] == [
        number for _, number in sorted(zip(offsets_mm, itertools.count(1)))
    ]
    gaps_mm = np.diff([frame.offset_mm for frame in by_offset])
    assert np.abs(gaps_mm - np.diff(sorted(offsets_mm))).max() < _NEAR_MM


@settings(deadline=None, max_examples=20)
@given(_grids(), st.floats(0.03, 1.0), st.booleans())
def test_directions_that_are_no_unit_vectors_at_right_angles_give_no_place(
    grid: Grid, wrong: float, skewed: bool
) -> None:
    column = grid.column + wrong * grid.row if skewed else grid.column * (1 + wrong)
    (reason,) = frames_of(_single(Grid(grid.row, column, grid.spacing_mm, grid.origin_mm)), Path("unused"))
    assert isinstance(reason, Reason)
    assert reason.code is ReasonCode.NO_GEOMETRY


@pytest.mark.parametrize("stated", [2, 4])
def test_frames_that_do_not_fit_their_functional_groups_are_refused(stated: int) -> None:
    grid = Grid(np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), (1.0, 1.0), (0.0, 0.0, 0.0))
    dataset = _enhanced(grid, [0.0, 1.0, 2.0], shared=True)
    dataset.NumberOfFrames = stated
    with pytest.raises(Refused, match="another number of per-frame functional groups"):
        frames_of(dataset, Path("unused"))
