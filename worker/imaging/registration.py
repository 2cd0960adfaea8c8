"""Transformations between frames of reference, from Spatial Registration objects (PS3.3 C.20.2)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import SpatialRegistrationStorage

from neurotriage.core.errors import Refused
from neurotriage.core.values import SeriesManifest
from neurotriage.core.volume import Registration
from neurotriage.dicom.attributes import items, numbers
from neurotriage.dicom.headers import read_header, text

_RIGID: Final = "RIGID"
_ROTATION_TOLERANCE: Final = 1e-3  # of a rotation matrix, for rounding in headers


def read_registrations(series: Sequence[SeriesManifest]) -> tuple[Registration, ...]:
    """The rigid transformations (4, 4) in mm of all Spatial Registration objects (PS3.3 C.20.2).

    Objects that cannot be read, and transformations that are not rigid, are ignored.
    """
    return tuple(
        registration
        for manifest in series
        for instance in manifest.instances
        if instance.sop_class_uid == SpatialRegistrationStorage
        for registration in _of_object(instance.path)
    )


def _of_object(path: Path) -> Iterator[Registration]:
    try:
        dataset = read_header(path)
    except Refused:
        return
    target = text(dataset, "FrameOfReferenceUID")
    for item in items(dataset, "RegistrationSequence"):
        source, matrix = text(item, "FrameOfReferenceUID"), _matrix(item)
        if source and target and matrix is not None:
            yield Registration(source, target, matrix)


def _matrix(item: Dataset) -> NDArray[np.float64] | None:
    """The product of the item's matrices (PS3.3 C.20.2.1.1); None where one is missing or not rigid."""
    result = np.eye(4)
    steps = [
        step for part in items(item, "MatrixRegistrationSequence") for step in items(part, "MatrixSequence")
    ]
    for step in steps:
        values = numbers(step, "FrameOfReferenceTransformationMatrix")
        if len(values) != 16 or text(step, "FrameOfReferenceTransformationMatrixType").upper() != _RIGID:
            return None
        result = np.array(values).reshape(4, 4) @ result
    rotation = result[:3, :3]
    orthogonal = np.allclose(rotation @ rotation.T, np.eye(3), atol=_ROTATION_TOLERANCE)
    rigid = orthogonal and np.linalg.det(rotation) > 0
    return result if steps and rigid else None
