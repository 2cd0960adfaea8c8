"""The committed weights on real volumes. Needs the evaluation data."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from scipy import ndimage

from neurotriage.core.settings import WorkerSettings
from neurotriage.core.values import ManifestInstance, Outcome, SeriesManifest, Side
from neurotriage.core.volume import Volume
from tests.eligibility.rule import RULE
from tests.vision.synthetic import ct_head
from worker.imaging.build import build_volume
from worker.vision import EngineRequest, Models, analyse_volumes, load_models
from worker.vision.engines import OPENVINO

pytest.importorskip("nibabel", reason="nibabel reads the volumes (extra: training)")

from training.data.volumes import VolumeRow, read_rows, read_volume


@pytest.fixture(scope="module")
def models() -> Models:
    # Named: without a folder of measurements the reference runs, which takes twice as long.
    return load_models(WorkerSettings().weights, threads=1, engine=EngineRequest(OPENVINO))


@pytest.fixture(scope="module")
def ct_models(models: Models) -> Models:
    if "CT" not in models.cards:
        pytest.skip("the weights folder has no CT model")
    return models


@pytest.fixture(scope="module")
def rows(data_dir: Path) -> list[VolumeRow]:
    return [r for r in read_rows(data_dir / "volumes.csv") if r.split == "study-val" and r.modality == "MR"]


def test_the_study_rule_was_chosen_for_the_committed_weights(models: Models) -> None:
    assert not models.degradations()


@pytest.mark.timeout(600)
def test_no_healthy_volume_is_present_and_no_tumour_is_absent(rows: list[VolumeRow], models: Models) -> None:
    outcomes = {row: analyse_volumes([read_volume(row)], models)[0].outcome for row in rows}
    assert [row.path.name for row, o in outcomes.items() if not row.tumour and o is Outcome.PRESENT] == []
    assert [row.path.name for row, o in outcomes.items() if row.tumour and o is Outcome.ABSENT] == []
    assert set(outcomes.values()) <= {Outcome.PRESENT, Outcome.ABSENT, Outcome.UNDETERMINED}


def test_an_outlined_tumour_covers_the_known_one(
    rows: list[VolumeRow], models: Models, data_dir: Path
) -> None:
    row = next(row for row in rows if row.path.name == "lgg_tcga_cs_4943_20000902_flair.nii.gz")
    study, evidence = analyse_volumes([read_volume(row)], models)
    assert study.outcome is Outcome.PRESENT
    mask_file = row.path.with_name(row.path.name.replace(".nii.gz", "_mask.nii.gz"))
    mask = read_volume(VolumeRow(mask_file, "MR", "", True, "", "", "", "")).voxels > 0
    assert evidence.key is not None
    key = evidence.slices[evidence.key]
    truth = mask[key.slice_index]
    assert truth.any()
    assert 2 * (truth & key.mask).sum() / (truth.sum() + key.mask.sum()) > 0.6
    hottest = np.unravel_index(key.heat.argmax(), key.heat.shape)
    rows_, columns = np.nonzero(truth)
    assert np.hypot(rows_ - hottest[0], columns - hottest[1]).min() <= 8


def dicom_volume(folder: Path, description: str = "") -> Volume:
    """The MR series of a folder whose description holds ``description``."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    headers = {path: pydicom.dcmread(path, stop_before_pixels=True) for path in files}
    instances = tuple(
        ManifestInstance(header.SOPInstanceUID, header.SOPClassUID, path, "")
        for path, header in headers.items()
        if description in header.get("SeriesDescription", "")
    )
    return build_volume(
        SeriesManifest(headers[instances[0].path].SeriesInstanceUID, "MR", instances), RULE
    ).volume


def test_the_left_frontal_tumour_of_a_real_study_is_boxed(data_dir: Path, models: Models) -> None:
    volume = dicom_volume(data_dir / "dicom" / "brain_mr_philips_flair_t2star_tumour", "FLAIR")
    study, evidence = analyse_volumes([volume], models)
    assert study.outcome is Outcome.PRESENT
    main = [finding for finding in study.findings if finding.lesion == 1]
    numbers = {volume.sources[finding.slice_index].instance_number or 0 for finding in main}
    assert len(numbers & set(range(5, 14))) >= 4
    largest = max(main, key=lambda finding: finding.size_mm)
    x0, y0, x1, y1 = largest.box
    assert largest.side is Side.LEFT
    assert x0 < 196 < x1  # the middle of the lesion, seen by eye, on the 288 x 288 grid
    assert y0 < 145 < y1
    assert evidence.key is not None


def test_a_real_brain_without_a_lesion_is_not_present(data_dir: Path, models: Models) -> None:
    volume = dicom_volume(data_dir / "dicom" / "brain_mr_ge_pd_axial")
    assert analyse_volumes([volume], models)[0].outcome is not Outcome.PRESENT


@pytest.mark.parametrize("name", ["ct_head_ge", "ct_cranium"])
def test_a_real_look_alike_on_ct_is_no_tumour(data_dir: Path, ct_models: Models, name: str) -> None:
    row = next(r for r in read_rows(data_dir / "volumes.csv") if r.path.name == f"{name}.nii.gz")
    assert analyse_volumes([read_volume(row)], ct_models)[0].outcome is not Outcome.PRESENT


@pytest.mark.parametrize("name", ["water", "acrylic", "fruit", "empty skull", "knee"])
def test_a_ct_of_something_else_is_never_absent(ct_models: Models, name: str) -> None:
    stack = ct_head(shape=(26, 160, 192), spacing_mm=(1.25, 1.0))
    z, y, x = np.indices(stack.voxels.shape) - (np.array(stack.voxels.shape)[:, None, None, None] - 1) / 2
    radius = np.hypot(np.hypot(6.0 * z, 1.25 * y), 1.0 * x)
    across = np.hypot(1.25 * y, 1.0 * x)
    bones = (np.hypot(1.25 * y - 15, x) < 18) | (np.hypot(1.25 * y + 25, x) < 12)
    values = {
        "water": np.where(across < 85, 0, -1000) + np.where((across > 80) & (across < 85), 120, 0),
        "acrylic": np.where(across < 85, 120, -1000) + np.where(np.hypot(1.25 * y, x - 40) < 12, 800, 0),
        "fruit": np.where(radius < 70, 10 + 15 * np.cos(9 * np.arctan2(y, x)), -1000),
        "empty skull": np.where((radius < 80) & (radius > 72), 900, -1000),
        "knee": np.where(across < 60, np.where(bones, 400, 55), -1000),
    }[name]
    noise = np.random.default_rng(0).normal(0, 4, values.shape)
    study, _ = analyse_volumes([replace(stack, voxels=(values + noise).astype(np.float32))], ct_models)
    assert study.outcome is not Outcome.ABSENT, study.predictions


@pytest.mark.parametrize("name", ["knee_mr_j2k", "phantom_mr_says_brain", "fruit_mr_says_sagittal_t1"])
def test_what_is_no_head_is_refused_by_its_pixels(data_dir: Path, models: Models, name: str) -> None:
    volume = dicom_volume(data_dir / "dicom" / "not_a_brain" / name)
    assert analyse_volumes([volume], models)[0].outcome is Outcome.NOT_ELIGIBLE


@pytest.mark.parametrize("blur_px", [1.0, 2.0])
def test_a_blurred_knee_is_no_head_either(data_dir: Path, models: Models, blur_px: float) -> None:
    volume = dicom_volume(data_dir / "dicom" / "not_a_brain" / "knee_mr_j2k")
    blurred = ndimage.gaussian_filter(volume.voxels, (0, blur_px, blur_px))
    study, _ = analyse_volumes([replace(volume, voxels=blurred)], models)
    assert study.outcome is Outcome.NOT_ELIGIBLE
