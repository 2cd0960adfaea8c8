"""A series is a set of stacks: each image ends in one, or is named with its reason; one kind a stack."""

import random
from collections import Counter
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import RTStructureSetStorage, SecondaryCaptureImageStorage, generate_uid

from neurotriage.core.values import ReasonCode
from tests.eligibility.rule import RULE
from tests.imaging.made import AXIAL, SAGITTAL, ct_slice_of, enhanced_of, picture, series_in, slice_of
from worker.imaging import read_images
from worker.selection import ReadSeries
from worker.selection.series import judge

pytestmark = pytest.mark.unit

Changes = dict[str, Any]


def _read(folder: Path, datasets: Sequence[Dataset]) -> ReadSeries:
    for number, dataset in enumerate(datasets):
        dataset.SOPInstanceUID = f"2.25.7{number:04d}"
    series = series_in(folder, list(datasets))
    return judge(series.series_instance_uid, read_images(series), RULE)


def _stack(make: Any = ct_slice_of, count: int = 12, first: int = 1, **changes: Any) -> list[Dataset]:
    return [make(picture(seed=n), n, **changes) for n in range(first, first + count)]


def _again(datasets: Sequence[Dataset], **changes: Any) -> list[Dataset]:
    """The same places with other pixels."""
    twins = []
    for number, dataset in enumerate(datasets):
        twin = deepcopy(dataset)
        twin.PixelData = picture(seed=1000 + number).tobytes()
        for name, value in changes.items():
            setattr(twin, name, value)
        twins.append(twin)
    return twins


def _left_out(read: ReadSeries) -> Counter[ReasonCode]:
    return Counter(item.reason.code for item in read.plan.left_out)


def _stacks_z(read: ReadSeries) -> list[list[float]]:
    return [[image.place.position_mm[2] for image in stack] for stack in read.plan.stacks]


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
    read = _read(tmp_path, [*_stack(count=9, **odd), *_stack(count=14, first=10)])
    assert [len(stack) for stack in read.plan.stacks] == [14, 9]
    assert not read.plan.left_out


@pytest.mark.parametrize("odd", [{"ImageOrientationPatient": TILT}, {"PixelSpacing": [2.0, 2.0]}])
def test_a_block_too_small_for_an_answer_is_named_and_is_no_alien(tmp_path: Path, odd: Changes) -> None:
    read = _read(tmp_path, [*_stack(count=3, **odd), *_stack(count=14, first=4)])
    assert [len(stack) for stack in read.plan.stacks] == [14]
    assert _left_out(read) == {ReasonCode.INCONSISTENT_GEOMETRY: 3}
    assert not any(item.alien for item in read.plan.left_out)


def test_no_more_stacks_than_four_are_analysed_and_the_others_are_named(tmp_path: Path) -> None:
    blocks = [_stack(count=6, first=1 + 10 * n, PixelSpacing=[1.0 + n / 10] * 2) for n in range(6)]
    read = _read(tmp_path, [dataset for block in blocks for dataset in block])
    assert [len(stack) for stack in read.plan.stacks] == [6] * 4
    assert _left_out(read) == {ReasonCode.LOWER_RANK: 12}


@pytest.mark.parametrize(("sideways_mm", "acquisition"), [(12.0, 1), (12.0, 2), (0.0, 2)])
def test_a_second_pass_between_the_slices_of_the_first_is_not_mixed_with_it(
    tmp_path: Path, sideways_mm: float, acquisition: int
) -> None:
    first = _stack(AcquisitionNumber=1)
    second = _again(first, AcquisitionNumber=acquisition)
    for dataset in second:
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x + sideways_mm, y, z + 2.5]
    read = _read(tmp_path, [*first, *second])
    for stack in read.plan.stacks:
        assert (
            len({(image.place.position_mm[0], round(image.place.position_mm[2] % 5, 3)) for image in stack})
            == 1
        )
    assert sum(map(len, read.plan.stacks)) + len(read.plan.left_out) == 24
    assert len(read.plan.stacks) == (2 if sideways_mm else 1)


def _typed(*words: str) -> Changes:
    return {"ImageType": list(words)}


# Each pair shares its places; the first is taken.
KINDS: list[tuple[str, Any, Changes, Changes]] = [
    ("magnitude", slice_of, _typed("ORIGINAL", "PRIMARY", "M"), _typed("ORIGINAL", "PRIMARY", "P")),
    ("GE magnitude", slice_of, {"ge": 0}, {"ge": 1}),
    ("GE magnitude, real", slice_of, {"ge": 0}, {"ge": 2}),
    ("Philips magnitude", slice_of, {"philips": "M"}, {"philips": "P"}),
    ("water", slice_of, _typed("DERIVED", "PRIMARY", "W", "W"), _typed("DERIVED", "PRIMARY", "F", "F")),
    ("Siemens water", slice_of,
     _typed("DERIVED", "PRIMARY", "DIXON", "WATER"), _typed("DERIVED", "PRIMARY", "DIXON", "FAT")),
    ("in-phase", slice_of, _typed("ORIGINAL", "PRIMARY", "DIXON", "IN_PHASE"),
     _typed("ORIGINAL", "PRIMARY", "DIXON", "OPP_PHASE")),
    ("water beside a hyphen", slice_of, _typed("ORIGINAL", "PRIMARY", "DIXON", "WATER"),
     _typed("ORIGINAL", "PRIMARY", "DIXON", "OUT-PHASE")),
    ("magnitude written out", slice_of,
     _typed("ORIGINAL", "PRIMARY", "MAGNITUDE"), _typed("ORIGINAL", "PRIMARY", "IMAGINARY")),
    ("uniform image of MP2RAGE", slice_of, _typed("ORIGINAL", "PRIMARY", "M", "UNI"),
     _typed("ORIGINAL", "PRIMARY", "M", "INV1")),
    ("second inversion of MP2RAGE", slice_of, _typed("ORIGINAL", "PRIMARY", "M", "INV2"),
     _typed("ORIGINAL", "PRIMARY", "M", "INV1")),
    ("soft kernel", ct_slice_of, {"ConvolutionKernel": "H31s"}, {"ConvolutionKernel": "H60s"}),
    ("soft kernel of GE", ct_slice_of, {"ConvolutionKernel": "STANDARD"}, {"ConvolutionKernel": "BONEPLUS"}),
    ("soft kernel of Canon", ct_slice_of, {"ConvolutionKernel": "FC26"}, {"ConvolutionKernel": "FC30"}),
    ("voltage", ct_slice_of, {"KVP": 120}, {"KVP": 80}),
    ("original", ct_slice_of, _typed("ORIGINAL", "PRIMARY", "AXIAL"), _typed("DERIVED", "PRIMARY", "AXIAL")),
    ("late echo", slice_of,
     {"EchoTime": 90, "RepetitionTime": 3000}, {"EchoTime": 15, "RepetitionTime": 3000}),
    ("late inversion", slice_of, {"InversionTime": 2500}, {"InversionTime": 800}),
    ("contrast", ct_slice_of, {"ContrastBolusAgent": "Iopamidol"}, {"ContrastBolusAgent": ""}),
    ("later acquisition", ct_slice_of, {"AcquisitionNumber": 2}, {"AcquisitionNumber": 1}),
    ("later time", ct_slice_of, {"AcquisitionTime": "101502"}, {"AcquisitionTime": "101501"}),
    ("temporal position", ct_slice_of, {"TemporalPositionIdentifier": 2}, {"TemporalPositionIdentifier": 1}),
    ("trigger time", slice_of, {"TriggerTime": 500}, {"TriggerTime": 20}),
    ("normalised", slice_of,
     _typed("ORIGINAL", "PRIMARY", "M", "NORM"), _typed("ORIGINAL", "PRIMARY", "M", "ND")),
]  # fmt: skip


def _of_kind(dataset: Dataset, changes: Changes) -> Dataset:
    for name, value in changes.items():
        if name == "ge":
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
            dataset.add_new(0x00430010, "LO", "GEMS_PARM_01")
            dataset.add_new(0x0043102F, "SS", value)
        elif name == "philips":
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
            dataset.add_new(0x20050010, "LO", "Philips MR Imaging DD 001")
            dataset.add_new(0x20051011, "CS", value)
        else:
            setattr(dataset, name, value)
    return dataset


@pytest.mark.parametrize(
    ("make", "taken", "other"), [row[1:] for row in KINDS], ids=[row[0] for row in KINDS]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_of_two_kinds_at_the_same_places_one_is_taken_throughout_and_the_other_is_named(
    tmp_path: Path, make: Any, taken: Changes, other: Changes, seed: int
) -> None:
    first = [_of_kind(dataset, taken) for dataset in _stack(make)]
    second = [_of_kind(dataset, other) for dataset in _again(_stack(make))]
    wanted = {dataset.PixelData for dataset in first}
    mixed = [*first, *second]
    random.Random(seed).shuffle(mixed)
    read = _read(tmp_path, mixed)
    by_uid = {dataset.SOPInstanceUID: dataset.PixelData for dataset in mixed}
    (stack,) = read.plan.stacks
    assert {by_uid[image.of.sop_instance_uid] for image in stack} == wanted
    assert _left_out(read) == {ReasonCode.OTHER_KIND: 12}
    assert all(item.reason.text for item in read.plan.left_out)


@pytest.mark.parametrize(
    "changes",
    [
        {"EchoTime": 18.5}, {"AcquisitionNumber": 2}, {"ConvolutionKernel": "H60s"}, {"TriggerTime": 300},
        {"RepetitionTime": 700}, {"AcquisitionTime": "111111"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("interleaved", [False, True])
def test_what_varies_by_slice_or_package_makes_no_kind(
    tmp_path: Path, changes: Changes, interleaved: bool
) -> None:
    datasets = _stack(EchoTime=12, AcquisitionNumber=1, ConvolutionKernel="H31s", RepetitionTime=550)
    for dataset in datasets[::2] if interleaved else datasets[8:]:
        for name, value in changes.items():
            setattr(dataset, name, value)
    read = _read(tmp_path, datasets)
    assert [len(stack) for stack in read.plan.stacks] == [12]
    assert not read.plan.left_out


def test_acquisitions_of_a_few_slices_each_make_one_stack_a_pass(tmp_path: Path) -> None:
    datasets = _stack()
    for number, dataset in enumerate(datasets):
        dataset.AcquisitionNumber = 1 + number // 4
    second = _again(datasets)
    for dataset in second:
        dataset.AcquisitionNumber += 3
    read = _read(tmp_path, [*second, *datasets])
    (stack,) = read.plan.stacks
    assert {image.place.instance_number for image in stack} == set(range(1, 13))
    assert _left_out(read) == {ReasonCode.OTHER_KIND: 12}


def test_acquisitions_that_share_a_slice_where_they_meet_are_one_stack(tmp_path: Path) -> None:
    datasets = _stack(count=16)
    for number, dataset in enumerate(datasets):
        dataset.AcquisitionNumber = 1 + number // 4
    doubles = _again(datasets[4::4])
    for dataset in doubles:
        dataset.AcquisitionNumber -= 1
        dataset.InstanceNumber += 50
    read = _read(tmp_path, [*doubles, *datasets])
    assert [len(stack) for stack in read.plan.stacks] == [16]
    assert _left_out(read) == {ReasonCode.OTHER_KIND: 3}


def test_blocks_of_another_thickness_that_touch_are_one_stack(tmp_path: Path) -> None:
    thin = _stack(count=5, SliceThickness=5.0)
    thick = [
        ct_slice_of(
            picture(), 10 + n, ImagePositionPatient=[-100.0, -110.0, 26.0 + 8 * n], SliceThickness=8.0
        )
        for n in range(6)
    ]
    read = _read(tmp_path, [*thin, *thick])
    assert [len(stack) for stack in read.plan.stacks] == [11]


def test_of_an_incomplete_second_pass_the_complete_first_is_taken(tmp_path: Path) -> None:
    first = _stack(AcquisitionNumber=1)
    read = _read(tmp_path, [*first, *_again(first[:9], AcquisitionNumber=2)])
    assert [len(stack) for stack in read.plan.stacks] == [12]


def test_what_the_better_kind_does_not_cover_is_analysed_of_the_other(tmp_path: Path) -> None:
    sharp = _stack(count=20, ConvolutionKernel="H60s")
    soft = _again(sharp[:12], ConvolutionKernel="H31s")
    read = _read(tmp_path, [*sharp, *soft])
    assert [len(stack) for stack in read.plan.stacks] == [12, 8]
    assert _left_out(read) == {ReasonCode.OTHER_KIND: 12}


def test_a_bone_kernel_in_a_field_of_view_of_its_own_is_left_out_where_the_soft_one_covers_it(
    tmp_path: Path,
) -> None:
    soft = _stack(ConvolutionKernel="H31s", PixelSpacing=[2.0, 2.0])
    bone = _stack(ConvolutionKernel="H60s", ImagePositionPatient=None)
    for dataset, place in zip(bone, soft, strict=True):
        x, y, z = place.ImagePositionPatient
        dataset.ImagePositionPatient = [x + 6, y + 8, z]
    read = _read(tmp_path, [*bone, *soft])
    assert [len(stack) for stack in read.plan.stacks] == [12]
    assert _left_out(read) == {ReasonCode.OTHER_KIND: 12}


def test_blocks_of_two_frames_of_reference_are_not_one_stack(tmp_path: Path) -> None:
    first = _stack(count=12, FrameOfReferenceUID="2.25.1")
    read = _read(tmp_path, [*first, *_stack(count=8, first=13, FrameOfReferenceUID="2.25.2")])
    assert [len(stack) for stack in read.plan.stacks] == [12, 8]


def test_copies_are_named_and_miss_nothing(tmp_path: Path) -> None:
    first = _stack()
    twins = deepcopy(first)
    read = _read(tmp_path, [*first, *twins])
    assert [len(stack) for stack in read.plan.stacks] == [12]
    assert _left_out(read) == {ReasonCode.SAME_PLACE: 12}
    assert all(item.alien for item in read.plan.left_out)


def test_different_pictures_that_nothing_tells_apart_are_refused(tmp_path: Path) -> None:
    first = _stack()
    read = _read(tmp_path, [*first, *_again(first)])
    assert read.refusal is not None
    assert read.refusal.reason.code is ReasonCode.SAME_PLACE


@pytest.mark.parametrize("name", ["InstanceNumber", "AcquisitionTime"])
def test_pairs_of_one_position_that_only_a_running_count_tells_apart_are_refused(
    tmp_path: Path, name: str
) -> None:
    """Somebody rounded the positions: no order of the pairs makes passes of them."""
    datasets = _stack(count=12)
    for place, dataset in enumerate(datasets):
        dataset.InstanceNumber = 1
        setattr(dataset, name, f"10{place:02d}00" if name == "AcquisitionTime" else place + 1)
        dataset.ImagePositionPatient[2] = 10.0 * (place // 2)
    read = _read(tmp_path, datasets)
    assert not read.plan.stacks
    assert _left_out(read) == {ReasonCode.SAME_PLACE: 12}


def test_positions_that_some_images_share_are_not_believed(tmp_path: Path) -> None:
    datasets = _stack(count=20)
    for dataset in datasets[12:]:
        dataset.ImagePositionPatient = datasets[12].ImagePositionPatient
    read = _read(tmp_path, datasets)
    assert [len(stack) for stack in read.plan.stacks] == [13]
    assert _left_out(read) == {ReasonCode.SAME_PLACE: 7}
    assert "8 of 20 images state one position" in read.plan.left_out[0].reason.text
    assert not any(item.alien for item in read.plan.left_out)


def _rtstruct() -> Dataset:
    alien = slice_of(picture(), 0, Modality="RTSTRUCT", SOPClassUID=RTStructureSetStorage)
    for name in ("PixelData", "ImagePositionPatient", "ImageOrientationPatient", "Rows", "Columns"):
        delattr(alien, name)
    return alien


ALIENS: list[tuple[str, Any, ReasonCode, bool]] = [
    ("scout", {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "ImageOrientationPatient": list(SAGITTAL)},
     ReasonCode.LOCALIZER, True),
    ("scout by orientation", {"ImageOrientationPatient": list(SAGITTAL)}, ReasonCode.LOCALIZER, True),
    ("MIP", _typed("DERIVED", "SECONDARY", "MIP"), ReasonCode.DERIVED, True),
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
    slices = _stack(count=14)
    del slices[4]
    read = _read(tmp_path, [stranger, *slices])
    assert read.refusal is None
    assert [len(stack) for stack in read.plan.stacks] == [13]
    assert [(item.reason.code, item.alien) for item in read.plan.left_out] == [(code, alone)]
    assert read.facts.modality == "CT"


def _weighted(make: Any, b: float, **changes: Any) -> list[Dataset]:
    return _stack(make, DiffusionBValue=b, **changes)


def test_b_0_is_refused_together_with_what_is_weighted(tmp_path: Path) -> None:
    read = _read(tmp_path, [*_weighted(slice_of, 0.0), *_again(_weighted(slice_of, 1000.0))])
    assert read.refusal is not None
    assert read.refusal.reason.code is ReasonCode.DIFFUSION


def test_one_weighted_image_does_not_cost_the_others(tmp_path: Path) -> None:
    read = _read(tmp_path, [*_stack(slice_of), slice_of(picture(), 20, DiffusionBValue=1000.0)])
    assert read.refusal is None
    assert _left_out(read) == {ReasonCode.DIFFUSION: 1}


@pytest.mark.parametrize(
    ("times", "keyed", "taken"), [(2, False, True), (3, False, False), (3, True, True), (9, True, False)]
)
def test_a_few_phases_are_told_apart_and_many_are_a_time_series(
    tmp_path: Path, times: int, keyed: bool, taken: bool
) -> None:
    datasets = []
    for time in range(times):
        phase = _again(_stack(count=6)) if time else _stack(count=6)
        for dataset in phase:
            dataset.InstanceNumber += 6 * time
            if keyed:
                dataset.TemporalPositionIdentifier = time + 1
        datasets += phase
    read = _read(tmp_path, datasets)
    assert (read.refusal is None) is taken
    if taken:
        assert [len(stack) for stack in read.plan.stacks] == [6]
        assert {image.place.instance_number for image in read.plan.stacks[0]} == set(
            range(6 * times - 5, 6 * times + 1)
        )


def _item(**attributes: Any) -> Dataset:
    item = Dataset()
    for name, value in attributes.items():
        setattr(item, name, Items([value]) if isinstance(value, Dataset) else value)
    return item


def test_an_enhanced_object_of_two_stacks_over_time_is_placed_by_position(tmp_path: Path) -> None:
    """In-Stack Position runs against the order of the frames, orientation is each frame's own."""
    frames, pictures = [], []
    for stack, orientation in (("1", AXIAL), ("2", SAGITTAL)):
        for time in (1, 2):
            for place in range(6):
                mm = [-50.0, -50.0, 6.0 * place] if stack == "1" else [6.0 * place, -50.0, 50.0]
                frames.append(
                    _item(
                        PlanePositionSequence=_item(ImagePositionPatient=mm),
                        PlaneOrientationSequence=_item(ImageOrientationPatient=list(orientation)),
                        FrameContentSequence=_item(
                            StackID=stack, InStackPositionNumber=6 - place, TemporalPositionIndex=time
                        ),
                    )
                )
                pictures.append(picture(seed=len(pictures)))
    dataset = enhanced_of(pictures, [[0.0, 0.0, 0.0]] * len(pictures))
    del dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    dataset.PerFrameFunctionalGroupsSequence = Items(frames)
    read = _read(tmp_path, [dataset])
    assert [len(stack) for stack in read.plan.stacks] == [6, 6]
    found = {tuple(image.place.frame for image in stack) for stack in read.plan.stacks}
    assert found == {tuple(range(7, 13)), tuple(range(24, 18, -1))}
    assert _left_out(read) == {ReasonCode.OTHER_KIND: 12}


@pytest.mark.parametrize(
    "stated",
    [
        lambda time: {"TemporalPositionSequence": _item(TemporalPositionTimeOffset=60.0 * time)},
        lambda time: {"FrameContentSequence": _item(FrameReferenceDateTime=f"2026112812{time:02d}00")},
    ],
    ids=["offset", "reference time"],
)
def test_times_of_an_enhanced_object_are_told_by_whatever_states_them(tmp_path: Path, stated: Any) -> None:
    places = [[-50.0, -50.0, 6.0 * place] for place in range(6)] * 2
    dataset = enhanced_of([picture(seed=n) for n in range(12)], places)
    for number, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        for name, value in stated(1 + number // 6).items():
            setattr(group, name, Items([value]))
    read = _read(tmp_path, [dataset])
    assert [[image.place.frame for image in stack] for stack in read.plan.stacks] == [[7, 8, 9, 10, 11, 12]]
    assert _left_out(read) == {ReasonCode.OTHER_KIND: 6}


def test_a_frame_without_a_position_costs_itself(tmp_path: Path) -> None:
    dataset = enhanced_of([picture(seed=n) for n in range(12)], [[-50.0, -50.0, 6.0 * n] for n in range(12)])
    del dataset.PerFrameFunctionalGroupsSequence[11].PlanePositionSequence
    read = _read(tmp_path, [dataset])
    assert [[image.place.frame for image in stack] for stack in read.plan.stacks] == [list(range(1, 12))]
    assert _left_out(read) == {ReasonCode.NO_GEOMETRY: 1}
    assert not any(item.alien for item in read.plan.left_out)  # it may show anything: never absent


def test_jitter_of_positions_and_a_slightly_turned_slice_split_nothing(tmp_path: Path) -> None:
    datasets = _stack(count=12)
    jitter = np.random.default_rng(3).normal(0, 0.01, (12, 3))
    turn = np.deg2rad(0.01)
    for dataset, shift in zip(datasets, jitter, strict=True):
        dataset.ImagePositionPatient = [
            round(float(a + b), 6) for a, b in zip(dataset.ImagePositionPatient, shift, strict=True)
        ]
    datasets[4].ImageOrientationPatient = [1, 0, 0, 0, float(np.cos(turn)), float(-np.sin(turn))]
    read = _read(tmp_path, datasets)
    assert [len(stack) for stack in read.plan.stacks] == [12]
    assert not read.plan.left_out


def _mixture() -> list[Dataset]:
    """Two tilts, two kernels, two acquisitions, a scout and copies."""
    soft = _stack(count=10, ConvolutionKernel="H31s", AcquisitionNumber=1)
    bone = _again(soft, ConvolutionKernel="H60s")
    tilted = _stack(count=8, first=11, ImageOrientationPatient=TILT, AcquisitionNumber=1)
    late = _again(tilted, AcquisitionNumber=2)
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
        told = tuple(sorted((item.reason.text, item.alien) for item in read.plan.left_out))
        ends.add((stacks, told))
    ((stacks, told),) = ends
    assert [len(stack) for stack in stacks] == [10, 8]
    assert len(told) == 21
