"""Spatial Registration objects (PS3.3 C.20.2)."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SpatialRegistrationStorage

from neurotriage.core.values import ManifestInstance, SeriesManifest
from worker.imaging import read_registrations

pytestmark = pytest.mark.unit

TURN = np.array([[0, -1, 0, 5], [1, 0, 0, 2], [0, 0, 1, -3], [0, 0, 0, 1]], float)
SHIFT = np.array([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], float)
STRETCH = np.diag([2.0, 2, 2, 1])


def registration_object(
    source_uid: str, target_uid: str, *matrices: NDArray[np.float64], kind: str = "RIGID"
) -> Dataset:
    """An object that brings one frame of reference to another by one matrix after the other."""
    steps = []
    for matrix in matrices:
        step = Dataset()
        step.FrameOfReferenceTransformationMatrixType = kind
        step.FrameOfReferenceTransformationMatrix = [float(value) for value in matrix.ravel()]
        steps.append(step)
    part, item, dataset = Dataset(), Dataset(), Dataset()
    part.MatrixSequence = steps
    item.FrameOfReferenceUID, item.MatrixRegistrationSequence = source_uid, [part]
    dataset.SOPClassUID, dataset.SOPInstanceUID = SpatialRegistrationStorage, "1.6"
    dataset.Modality, dataset.FrameOfReferenceUID, dataset.RegistrationSequence = "REG", target_uid, [item]
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def registration(folder: Path, *matrices: NDArray[np.float64], kind: str = "RIGID") -> list[SeriesManifest]:
    """Such an object on disk, from frame 1.5 to 1.4."""
    path = folder / "registration.dcm"
    dcmwrite(path, registration_object("1.5", "1.4", *matrices, kind=kind), enforce_file_format=True)
    return [SeriesManifest("1.7", "REG", (ManifestInstance("1.6", SpatialRegistrationStorage, path, ""),))]


def test_matrices_are_applied_one_after_the_other(tmp_path: Path) -> None:
    (result,) = read_registrations(registration(tmp_path, TURN, SHIFT))
    assert (result.source_uid, result.target_uid) == ("1.5", "1.4")
    assert np.allclose(result.matrix, SHIFT @ TURN)


def test_what_is_not_rigid_joins_nothing(tmp_path: Path) -> None:
    assert read_registrations(registration(tmp_path, STRETCH)) == ()
    assert read_registrations(registration(tmp_path, np.diag([-1.0, 1, 1, 1]))) == ()
    assert read_registrations(registration(tmp_path, TURN, kind="AFFINE")) == ()
    assert read_registrations(registration(tmp_path)) == ()


def test_a_damaged_object_joins_nothing(tmp_path: Path) -> None:
    series = registration(tmp_path, TURN)
    path = series[0].instances[0].path
    path.write_bytes(path.read_bytes()[:200])
    assert read_registrations(series) == ()
