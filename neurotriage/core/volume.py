"""A series as a volume with true geometry."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from neurotriage.core.values import Plane, SliceSource


class Voxels(Protocol):
    """Float32 voxels, shape (slices, rows, columns): an array, or slices that are converted when indexed.

    A long stack would not fit into memory as an array: read it slice by slice, or a few at a time.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[NDArray[np.float32]]: ...

    def __getitem__(self, key: Any, /) -> Any: ...


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """Voxels in true units with the geometry of each slice.

    ``voxels`` is float32, shape (slices, rows, columns): HU for CT, rescaled signal for MR. Slices are
    sorted along the slice normal, ascending. ``positions_mm`` (slices, 3) is ImagePositionPatient of each
    slice (PS3.3 C.7.6.2), so uneven steps and gantry tilt are kept as they are. Patient coordinates are
    DICOM's: +x to the patient's left, +y to the back, +z to the head (LPS).
    """

    series_instance_uid: str
    modality: str  # "CT" or "MR"
    description: str
    voxels: Voxels
    row_direction: NDArray[np.float64]  # (3,) direction of increasing column index
    column_direction: NDArray[np.float64]  # (3,) direction of increasing row index
    pixel_spacing_mm: tuple[float, float]  # between rows, between columns (PixelSpacing order)
    positions_mm: NDArray[np.float64]
    thickness_mm: float
    plane: Plane
    sources: tuple[SliceSource, ...]
    frame_of_reference_uid: str | None = None
    sequence: str = "unknown"  # MR: T1, T1c, T2, FLAIR, PD or unknown; CT: CT
    stack: int = 1  # 1-based within the series, the largest first

    @property
    def affine(self) -> NDArray[np.float64]:
        """4 x 4 matrix from (column, row, slice) indices to patient mm, by the mean slice step.

        PS3.3 C.7.6.2.1.1. A tilted stack gives a sheared matrix, which is right.
        """
        matrix = np.eye(4)
        matrix[:3, 0] = self.row_direction * self.pixel_spacing_mm[1]
        matrix[:3, 1] = self.column_direction * self.pixel_spacing_mm[0]
        if len(self.positions_mm) > 1:
            steps = len(self.positions_mm) - 1
            matrix[:3, 2] = (self.positions_mm[-1] - self.positions_mm[0]) / steps
        else:
            matrix[:3, 2] = np.cross(self.row_direction, self.column_direction) * self.thickness_mm
        matrix[:3, 3] = self.positions_mm[0]
        return matrix

    def to_patient_mm(self, column: float, row: float, slice_index: int) -> NDArray[np.float64]:
        """Patient coordinates (3,) in mm of a point in one slice, exact also for uneven steps."""
        offset_mm: NDArray[np.float64] = (
            self.row_direction * self.pixel_spacing_mm[1] * column
            + self.column_direction * self.pixel_spacing_mm[0] * row
        )
        return np.asarray(self.positions_mm[slice_index] + offset_mm)


@dataclass(frozen=True, slots=True, eq=False)
class Registration:
    """A rigid transformation from one frame of reference to another (PS3.3 C.20.2)."""

    source_uid: str
    target_uid: str
    matrix: NDArray[np.float64]  # (4, 4): homogeneous coordinates in mm of the source to those of the target
