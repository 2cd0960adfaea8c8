"""A series is a set of stacks: each image ends in one, or is named with its reason."""

import random
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import RTStructureSetStorage, SecondaryCaptureImageStorage, generate_uid

from neurotriage.core.values import ReasonCode
from tests.eligibility.rule import RULE
from tests.imaging.made import SAGITTAL, ct_slice_of, picture, series_in, slice_of
from tests.selection.series import Changes, again, left_out, read_series, stack_of, typed
from worker.imaging import read_images
from worker.selection.series import judge

pytestmark = pytest.mark.unit


TILT = [1.0, 0.0, 0.0, 0.0, float(np.cos(np.deg2rad(15))), float(-np.sin(np.deg2rad(15)))]


@pytest.mark.parametrize(
    "odd",
    [
        {"ImageOrientationPatient": TILT},
        {"PixelSpacing": [2.0, 2.0]},
        {"Rows": 8, "PixelData": bytes(2 * 96)},
    ],
    ids=["tilt", "pixel size", "matrix"],
)
def test_a_block_of_another_geometry_is_a_stack_of_its_own(tmp_path: Path, odd: Changes) -> None:
    read = read_series(tmp_path, [*stack_of(count=9, **odd), *stack_of(count=14, first=10)])
    assert [len(stack) for stack in read.plan.stacks] == [14, 9]
    assert not read.plan.left_out


@pytest.mark.parametrize("odd", [{"ImageOrientationPatient": TILT}, {"PixelSpacing": [2.0, 2.0]}])
def test_a_block_too_small_for_an_answer_is_named_and_is_no_alien(tmp_path: Path, odd: Changes) -> None:
    read = read_series(tmp_path, [*stack_of(count=3, **odd), *stack_of(count=14, first=4)])
    assert [len(stack) for stack in read.plan.stacks] == [14]
    assert left_out(read) == {ReasonCode.INCONSISTENT_GEOMETRY: 3}
    assert not any(item.alien for item in read.plan.left_out)


def test_no_more_stacks_than_four_are_analysed_and_the_others_are_named(tmp_path: Path) -> None:
    blocks = [stack_of(count=6, first=1 + 10 * n, PixelSpacing=[1.0 + n / 10] * 2) for n in range(6)]
    read = read_series(tmp_path, [dataset for block in blocks for dataset in block])
    assert [len(stack) for stack in read.plan.stacks] == [6] * 4
    assert left_out(read) == {ReasonCode.LOWER_RANK: 12}


def test_blocks_of_another_thickness_that_touch_are_one_stack(tmp_path: Path) -> None:
    thin = stack_of(count=5, SliceThickness=5.0)
    thick = [
        ct_slice_of(
            picture(), 10 + n, ImagePositionPatient=[-100.0, -110.0, 26.0 + 8 * n], SliceThickness=8.0
        )
        for n in range(6)
    ]
    read = read_series(tmp_path, [*thin, *thick])
    assert [len(stack) for stack in read.plan.stacks] == [11]


def test_blocks_of_two_frames_of_reference_are_not_one_stack(tmp_path: Path) -> None:
    first = stack_of(count=12, FrameOfReferenceUID="2.25.1")
    read = read_series(tmp_path, [*first, *stack_of(count=8, first=13, FrameOfReferenceUID="2.25.2")])
    assert [len(stack) for stack in read.plan.stacks] == [12, 8]


def _rtstruct() -> Dataset:
    alien = slice_of(picture(), 0, Modality="RTSTRUCT", SOPClassUID=RTStructureSetStorage)
    for name in ("PixelData", "ImagePositionPatient", "ImageOrientationPatient", "Rows", "Columns"):
        delattr(alien, name)
    return alien


ALIENS: list[tuple[str, Any, ReasonCode, bool]] = [
    ("scout", {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "ImageOrientationPatient": list(SAGITTAL)},
     ReasonCode.LOCALIZER, True),
    ("scout by orientation", {"ImageOrientationPatient": list(SAGITTAL)}, ReasonCode.LOCALIZER, True),
    ("MIP", typed("DERIVED", "SECONDARY", "MIP"), ReasonCode.DERIVED, True),
    ("RTSTRUCT", _rtstruct, ReasonCode.OTHER_MODALITY, True),
    ("capture", {"SOPClassUID": SecondaryCaptureImageStorage}, ReasonCode.SECONDARY_CAPTURE, True),
    ("colour", {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, ReasonCode.COLOUR, True),
    ("no pixels", {"PixelData": None}, ReasonCode.NO_PIXELS, False),
    ("no rescale", {"RescaleSlope": None}, ReasonCode.NO_CALIBRATION, False),
    ("no position", {"ImagePositionPatient": None}, ReasonCode.NO_GEOMETRY, False),
    ("another matrix", {"PixelSpacing": [3.0, 3.0]}, ReasonCode.INCONSISTENT_GEOMETRY, False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("alien", "code", "alone"), [row[1:] for row in ALIENS], ids=[row[0] for row in ALIENS]
)
@pytest.mark.parametrize("number", [0, 99], ids=["first", "last"])
def test_an_alien_object_costs_itself(
    tmp_path: Path, alien: Any, code: ReasonCode, alone: bool, number: int
) -> None:
    stranger = alien() if callable(alien) else ct_slice_of(picture(), 5, **alien)
    stranger.InstanceNumber = number
    slices = stack_of(count=14)
    del slices[4]
    read = read_series(tmp_path, [stranger, *slices])
    assert read.refusal is None
    assert [len(stack) for stack in read.plan.stacks] == [13]
    assert [(item.reason.code, item.alien) for item in read.plan.left_out] == [(code, alone)]
    assert read.facts.modality == "CT"


def test_jitter_of_positions_and_a_slightly_turned_slice_split_nothing(tmp_path: Path) -> None:
    datasets = stack_of(count=12)
    jitter = np.random.default_rng(3).normal(0, 0.01, (12, 3))
    turn = np.deg2rad(0.01)
    for dataset, shift in zip(datasets, jitter, strict=True):
        dataset.ImagePositionPatient = [
            round(float(a + b), 6) for a, b in zip(dataset.ImagePositionPatient, shift, strict=True)
        ]
    datasets[4].ImageOrientationPatient = [1, 0, 0, 0, float(np.cos(turn)), float(-np.sin(turn))]
    read = read_series(tmp_path, datasets)
    assert [len(stack) for stack in read.plan.stacks] == [12]
    assert not read.plan.left_out


def _mixture() -> list[Dataset]:
    """Two tilts, two kernels, two acquisitions, a scout and copies."""
    soft = stack_of(count=10, ConvolutionKernel="H31s", AcquisitionNumber=1)
    bone = again(soft, ConvolutionKernel="H60s")
    tilted = stack_of(count=8, first=11, ImageOrientationPatient=TILT, AcquisitionNumber=1)
    late = again(tilted, AcquisitionNumber=2)
    scout = ct_slice_of(picture(), 40, ImageOrientationPatient=list(SAGITTAL))
    return [*soft, *bone, *tilted, *late, scout, *deepcopy(soft[:2])]


def test_no_order_and_no_uids_change_what_is_analysed(tmp_path: Path) -> None:
    ends = set()
    for seed in range(12):
        datasets = _mixture()
        dice = random.Random(seed)
        dice.shuffle(datasets)
        names = dice.sample(range(10**6), len(datasets))
        series = generate_uid(entropy_srcs=[str(seed)])
        for dataset, name in zip(datasets, names, strict=True):
            dataset.SOPInstanceUID, dataset.SeriesInstanceUID = f"2.25.{name}", series
        folder = tmp_path / str(seed)
        folder.mkdir()
        manifest = series_in(folder, datasets)
        read = judge(series, read_images(manifest), RULE)
        pixels = {dataset.SOPInstanceUID: bytes(dataset.PixelData) for dataset in datasets}
        stacks = tuple(
            tuple(pixels[image.of.sop_instance_uid] for image in stack) for stack in read.plan.stacks
        )
        reasons = tuple(sorted((item.reason.text, item.alien) for item in read.plan.left_out))
        ends.add((stacks, reasons))
    ((stacks, reasons),) = ends
    assert [len(stack) for stack in stacks] == [10, 8]
    assert len(reasons) == 21
