"""What Spatial Registration objects say of how frames of reference lie to each other (PS3.3 C.20.2)."""

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
_TURN_TOLERANCE: Final = 1e-3  # of a turn's matrix: what headers round


def read_registrations(series: Sequence[SeriesManifest]) -> tuple[Registration, ...]:
    """Rigid transformations of all registration objects; what cannot be read says nothing."""
    return tuple(
        found
        for one in series
        for instance in one.instances
        if instance.sop_class_uid == SpatialRegistrationStorage
        for found in _of_object(instance.path)
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
    """The item's matrices one after the other; None where one is missing or not rigid."""
    result = np.eye(4)
    steps = [
        step for part in items(item, "MatrixRegistrationSequence") for step in items(part, "MatrixSequence")
    ]
    for step in steps:
        values = numbers(step, "FrameOfReferenceTransformationMatrix")
        if len(values) != 16 or text(step, "FrameOfReferenceTransformationMatrixType").upper() != _RIGID:
            return None
        result = np.array(values).reshape(4, 4) @ result
    turn = result[:3, :3]
    rigid = np.allclose(turn @ turn.T, np.eye(3), atol=_TURN_TOLERANCE) and np.linalg.det(turn) > 0
    return result if steps and rigid else None
