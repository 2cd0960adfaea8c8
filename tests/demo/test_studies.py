"""The sample studies: whole series, files and pixels; where the lesion is, is in ``test_truth``."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from neurotriage.demo.head import ASSETS
from tests.conftest import ROOT
from tests.demo.made import made, series_of, true_values

_MEGABYTE = 10**6


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


def test_a_ct_holds_hounsfield_units() -> None:
    slices = np.stack([true_values(dataset) for dataset in made("ct").datasets])
    assert np.median(slices[:, :20, :20]) == pytest.approx(-1000, abs=25)
    assert np.percentile(slices, 99.5) > 700, "no skull"
    brain = slices[12, 230:280, 300:340]
    assert 15 < np.median(brain) < 45


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


def test_files_hold_what_was_made(tmp_path: Path) -> None:
    paths = made("ct").write(tmp_path / "new folder")
    assert len(paths) == 30
    read = dcmread(paths[14])
    assert read.SOPInstanceUID == made("ct").datasets[14].SOPInstanceUID
    np.testing.assert_array_equal(read.pixel_array, made("ct").datasets[14].pixel_array)


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
