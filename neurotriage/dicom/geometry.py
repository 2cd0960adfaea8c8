"""Position, orientation and pixel size of each frame in the patient, from its header."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from neurotriage.core.errors import Refused
from neurotriage.core.values import Plane, Reason, ReasonCode
from neurotriage.dicom.attributes import described, functional_group, items, number, numbers, whole_number
from neurotriage.dicom.headers import text

# No scanner makes more frames in one object; a higher number is wrong.
MAX_FRAMES: Final = 100_000
# Row and column directions must be unit vectors at right angles (PS3.3 C.7.6.2.1.1); headers are rounded.
_DIRECTION_TOLERANCE: Final = 0.02


@dataclass(frozen=True, slots=True)
class FrameGeometry:
    """Position and grid of one frame, in patient coordinates (LPS) in mm (PS3.3 C.7.6.2.1.1)."""

    sop_instance_uid: str
    path: Path
    frame: int | None  # 1-based; None for a single-frame instance
    instance_number: int | None
    position_mm: tuple[float, ...]  # centre of the first pixel
    orientation: tuple[float, ...]  # row direction x, y, z, column direction x, y, z
    spacing_mm: tuple[float, float]  # between rows, between columns
    thickness_mm: float | None
    rows: int
    columns: int

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit normal of the image plane, shaped (3,): row direction x column direction."""
        return np.cross(self.orientation[:3], self.orientation[3:]).astype(np.float64)

    @property
    def offset_mm(self) -> float:
        """Signed distance of the image plane from the origin, along its normal."""
        return float(np.dot(self.normal, self.position_mm))


def frames_of(dataset: Dataset, path: Path) -> tuple[FrameGeometry | Reason, ...]:
    """The geometry of each frame of an instance, or the reason (NO_GEOMETRY) why a frame has none.

    Single-frame attributes and functional groups (PS3.3 C.7.6.16) are read. Raises ``Refused`` (NO_GEOMETRY)
    where the number of frames is unusable or does not match the per-frame functional groups.
    """
    count = whole_number(dataset, "NumberOfFrames") or 1
    if not 1 <= count <= MAX_FRAMES:
        raise _no_geometry(f"NumberOfFrames is {count}")
    groups = len(items(dataset, "PerFrameFunctionalGroupsSequence"))
    multi = groups > 0
    if multi and groups != count:
        raise _no_geometry(f"{count} frames, but another number of per-frame functional groups")
    if count > 1 and not multi:
        raise _no_geometry("a multi-frame object without a position for each frame")
    return tuple(_frame_or_reason(dataset, path, index, multi) for index in range(count))


def plane_of(normal: NDArray[np.float64]) -> Plane:
    """The anatomical plane nearest to that of a unit normal, shaped (3,), in patient coordinates."""
    axis = int(np.argmax(np.abs(normal)))
    return (Plane.SAGITTAL, Plane.CORONAL, Plane.AXIAL)[axis]


def _frame_or_reason(dataset: Dataset, path: Path, index: int, multi: bool) -> FrameGeometry | Reason:
    try:
        return _frame(dataset, path, index, multi)
    except Refused as refused:
        return refused.reason


def _frame(dataset: Dataset, path: Path, index: int, multi: bool) -> FrameGeometry:
    position = _vector(dataset, index, "PlanePositionSequence", "ImagePositionPatient", 3)
    orientation = _vector(dataset, index, "PlaneOrientationSequence", "ImageOrientationPatient", 6)
    spacing = _vector(dataset, index, "PixelMeasuresSequence", "PixelSpacing", 2)
    rows, columns = whole_number(dataset, "Rows") or 0, whole_number(dataset, "Columns") or 0
    if min(spacing) <= 0 or rows < 1 or columns < 1:
        raise _no_geometry("the pixel size or the matrix is not positive")
    return FrameGeometry(
        sop_instance_uid=text(dataset, "SOPInstanceUID"),
        path=path,
        frame=index + 1 if multi else None,
        instance_number=whole_number(dataset, "InstanceNumber"),
        position_mm=position,
        orientation=_checked_directions(orientation),
        spacing_mm=(spacing[0], spacing[1]),
        thickness_mm=_thickness(dataset, index),
        rows=rows,
        columns=columns,
    )


def _vector(dataset: Dataset, index: int, group_name: str, name: str, length: int) -> tuple[float, ...]:
    group = functional_group(dataset, index, group_name)
    vector = numbers(group, name) if group is not None else ()
    if not vector and index == 0 and (whole_number(dataset, "NumberOfFrames") or 1) == 1:
        vector = numbers(dataset, name)
    # Some writers put what all frames share at the top level of a multi-frame object, against PS3.3.
    if not vector and name != "ImagePositionPatient":
        vector = numbers(dataset, name)
    if len(vector) != length:
        place = group if group is not None and name in group else dataset
        raise _no_geometry(f"{_tag_of(name)} {described(place, name)}; {length} numbers are needed")
    return vector


def _tag_of(name: str) -> str:
    tag = Tag(name)
    return f"({tag.group:04X},{tag.element:04X})"


def _checked_directions(orientation: tuple[float, ...]) -> tuple[float, ...]:
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = float(np.linalg.norm(row)), float(np.linalg.norm(column))
    wrong = max(abs(lengths[0] - 1), abs(lengths[1] - 1), abs(float(np.dot(row, column))))
    if wrong > _DIRECTION_TOLERANCE:
        raise _no_geometry("(0020,0037) ImageOrientationPatient is not two unit vectors at right angles")
    return tuple(row / lengths[0]) + tuple(column / lengths[1])


def _thickness(dataset: Dataset, index: int) -> float | None:
    group = functional_group(dataset, index, "PixelMeasuresSequence")
    stated = number(group, "SliceThickness") if group is not None else None
    stated = stated if stated is not None else number(dataset, "SliceThickness")
    return stated if stated is not None and 0 < stated < math.inf else None


def _no_geometry(sentence: str) -> Refused:
    return Refused(ReasonCode.NO_GEOMETRY, sentence)
