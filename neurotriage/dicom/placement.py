"""The ``Placement`` of an instance, read from its header."""

import math
from dataclasses import replace
from typing import Final

from pydicom.dataset import Dataset

from neurotriage.core.placement import Placement
from neurotriage.dicom.attributes import functional_group, numbers, whole_number

# Enough frames to know how far a multi-frame instance reaches, in whatever order they are.
_FRAMES_LOOKED_AT: Final = 64
# Limit of an integer column; nobody states more images.
_NUMBER_LIMIT: Final = 2**31 - 1


def placement_of(dataset: Dataset) -> Placement:
    """Position along the normal, grid, frames and stated number of images (PS3.3 C.7.6.2, C.7.6.1, C.7.6.16).

    Never raises: what is absent or unreadable is left empty.
    """
    frames = max(_count(dataset, "NumberOfFrames") or 1, 1)
    acquisition = whole_number(dataset, "AcquisitionNumber")
    known = Placement(
        frames=frames,
        acquisition_number=None if acquisition is None or abs(acquisition) > _NUMBER_LIMIT else acquisition,
        images_stated=_count(dataset, "InConcatenationTotalNumber")
        or (_count(dataset, "ImagesInAcquisition") if frames == 1 else None),
    )
    orientation = _vector(dataset, 0, "PlaneOrientationSequence", "ImageOrientationPatient", 6)
    if orientation is None:
        return known
    return _placed(dataset, known, orientation)


def _placed(dataset: Dataset, known: Placement, orientation: tuple[float, ...]) -> Placement:
    normal = _cross(orientation)
    length = math.sqrt(_dot(normal, normal))
    step = math.ceil(known.frames / _FRAMES_LOOKED_AT)
    chosen = sorted({*range(0, known.frames, step), known.frames - 1})
    places = [_vector(dataset, index, "PlanePositionSequence", "ImagePositionPatient", 3) for index in chosen]
    offsets = [_dot(normal, place) / length for place in places if place is not None and length > 0]
    if not offsets or not all(map(math.isfinite, offsets)):
        return known
    axis = ",".join(f"{part / length + 0.0:.2f}" for part in normal)
    matrix = f"{whole_number(dataset, 'Rows') or 0}x{whole_number(dataset, 'Columns') or 0}"
    return replace(
        known,
        grid=f"{axis} {matrix}",
        position_mm=round(min(offsets), 2),
        extent_mm=round(max(offsets) - min(offsets), 2),
    )


def _cross(orientation: tuple[float, ...]) -> tuple[float, ...]:
    """The product of the two directions, in plain numbers: for so few of them arrays cost more."""
    (a, b, c), (d, e, f) = orientation[:3], orientation[3:]
    return b * f - c * e, c * d - a * f, a * e - b * d


def _dot(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    return 0.0 + first[0] * second[0] + first[1] * second[1] + first[2] * second[2]  # never -0.0


def _count(dataset: Dataset, name: str) -> int | None:
    """A positive number that is believable, or None."""
    stated = whole_number(dataset, name)
    return stated if stated is not None and 0 < stated <= _NUMBER_LIMIT else None


def _vector(dataset: Dataset, index: int, group: str, name: str, length: int) -> tuple[float, ...] | None:
    """A vector of a frame (0-based): from its functional group, else from the top level."""
    own = functional_group(dataset, index, group)
    vector = numbers(own, name) if own is not None else numbers(dataset, name)
    return vector if len(vector) == length else None
