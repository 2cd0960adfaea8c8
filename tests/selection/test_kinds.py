"""Of images that share positions one kind and one pass is analysed; the others are named."""

import random
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from neurotriage.core.values import ReasonCode
from tests.imaging.made import ct_slice_of, picture, slice_of
from tests.selection.series import Changes, again, left_out, read_series, stack_of, typed

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(("sideways_mm", "acquisition"), [(12.0, 1), (12.0, 2), (0.0, 2)])
def test_a_second_pass_between_the_slices_of_the_first_is_not_mixed_with_it(
    tmp_path: Path, sideways_mm: float, acquisition: int
) -> None:
    first = stack_of(AcquisitionNumber=1)
    second = again(first, AcquisitionNumber=acquisition)
    for dataset in second:
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x + sideways_mm, y, z + 2.5]
    read = read_series(tmp_path, [*first, *second])
    for stack in read.plan.stacks:
        assert (
            len({(image.place.position_mm[0], round(image.place.position_mm[2] % 5, 3)) for image in stack})
            == 1
        )
    assert sum(map(len, read.plan.stacks)) + len(read.plan.left_out) == 24
    assert len(read.plan.stacks) == (2 if sideways_mm else 1)


# Each pair shares its places; the first is taken.
KINDS: list[tuple[str, Any, Changes, Changes]] = [
    ("magnitude", slice_of, typed("ORIGINAL", "PRIMARY", "M"), typed("ORIGINAL", "PRIMARY", "P")),
    ("GE magnitude", slice_of, {"ge": 0}, {"ge": 1}),
    ("GE magnitude, real", slice_of, {"ge": 0}, {"ge": 2}),
    ("Philips magnitude", slice_of, {"philips": "M"}, {"philips": "P"}),
    ("water", slice_of, typed("DERIVED", "PRIMARY", "W", "W"), typed("DERIVED", "PRIMARY", "F", "F")),
    ("Siemens water", slice_of,
     typed("DERIVED", "PRIMARY", "DIXON", "WATER"), typed("DERIVED", "PRIMARY", "DIXON", "FAT")),
    ("in-phase", slice_of, typed("ORIGINAL", "PRIMARY", "DIXON", "IN_PHASE"),
     typed("ORIGINAL", "PRIMARY", "DIXON", "OPP_PHASE")),
    ("water beside a hyphen", slice_of, typed("ORIGINAL", "PRIMARY", "DIXON", "WATER"),
     typed("ORIGINAL", "PRIMARY", "DIXON", "OUT-PHASE")),
    ("magnitude written out", slice_of,
     typed("ORIGINAL", "PRIMARY", "MAGNITUDE"), typed("ORIGINAL", "PRIMARY", "IMAGINARY")),
    ("uniform image of MP2RAGE", slice_of, typed("ORIGINAL", "PRIMARY", "M", "UNI"),
     typed("ORIGINAL", "PRIMARY", "M", "INV1")),
    ("second inversion of MP2RAGE", slice_of, typed("ORIGINAL", "PRIMARY", "M", "INV2"),
     typed("ORIGINAL", "PRIMARY", "M", "INV1")),
    ("soft kernel", ct_slice_of, {"ConvolutionKernel": "H31s"}, {"ConvolutionKernel": "H60s"}),
    ("soft kernel of GE", ct_slice_of, {"ConvolutionKernel": "STANDARD"}, {"ConvolutionKernel": "BONEPLUS"}),
    ("soft kernel of Canon", ct_slice_of, {"ConvolutionKernel": "FC26"}, {"ConvolutionKernel": "FC30"}),
    ("voltage", ct_slice_of, {"KVP": 120}, {"KVP": 80}),
    ("original", ct_slice_of, typed("ORIGINAL", "PRIMARY", "AXIAL"), typed("DERIVED", "PRIMARY", "AXIAL")),
    ("late echo", slice_of,
     {"EchoTime": 90, "RepetitionTime": 3000}, {"EchoTime": 15, "RepetitionTime": 3000}),
    ("late inversion", slice_of, {"InversionTime": 2500}, {"InversionTime": 800}),
    ("contrast", ct_slice_of, {"ContrastBolusAgent": "Iopamidol"}, {"ContrastBolusAgent": ""}),
    ("later acquisition", ct_slice_of, {"AcquisitionNumber": 2}, {"AcquisitionNumber": 1}),
    ("later time", ct_slice_of, {"AcquisitionTime": "101502"}, {"AcquisitionTime": "101501"}),
    ("temporal position", ct_slice_of, {"TemporalPositionIdentifier": 2}, {"TemporalPositionIdentifier": 1}),
    ("trigger time", slice_of, {"TriggerTime": 500}, {"TriggerTime": 20}),
    ("normalised", slice_of,
     typed("ORIGINAL", "PRIMARY", "M", "NORM"), typed("ORIGINAL", "PRIMARY", "M", "ND")),
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
    first = [_of_kind(dataset, taken) for dataset in stack_of(make)]
    second = [_of_kind(dataset, other) for dataset in again(stack_of(make))]
    wanted = {dataset.PixelData for dataset in first}
    mixed = [*first, *second]
    random.Random(seed).shuffle(mixed)
    read = read_series(tmp_path, mixed)
    by_uid = {dataset.SOPInstanceUID: dataset.PixelData for dataset in mixed}
    (stack,) = read.plan.stacks
    assert {by_uid[image.of.sop_instance_uid] for image in stack} == wanted
    assert left_out(read) == {ReasonCode.OTHER_KIND: 12}
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
    datasets = stack_of(EchoTime=12, AcquisitionNumber=1, ConvolutionKernel="H31s", RepetitionTime=550)
    for dataset in datasets[::2] if interleaved else datasets[8:]:
        for name, value in changes.items():
            setattr(dataset, name, value)
    read = read_series(tmp_path, datasets)
    assert [len(stack) for stack in read.plan.stacks] == [12]
    assert not read.plan.left_out


def test_acquisitions_of_a_few_slices_each_make_one_stack_a_pass(tmp_path: Path) -> None:
    datasets = stack_of()
    for number, dataset in enumerate(datasets):
        dataset.AcquisitionNumber = 1 + number // 4
    second = again(datasets)
    for dataset in second:
        dataset.AcquisitionNumber += 3
    read = read_series(tmp_path, [*second, *datasets])
    (stack,) = read.plan.stacks
    assert {image.place.instance_number for image in stack} == set(range(1, 13))
    assert left_out(read) == {ReasonCode.OTHER_KIND: 12}


def test_acquisitions_that_share_a_slice_where_they_meet_are_one_stack(tmp_path: Path) -> None:
    datasets = stack_of(count=16)
    for number, dataset in enumerate(datasets):
        dataset.AcquisitionNumber = 1 + number // 4
    doubles = again(datasets[4::4])
    for dataset in doubles:
        dataset.AcquisitionNumber -= 1
        dataset.InstanceNumber += 50
    read = read_series(tmp_path, [*doubles, *datasets])
    assert [len(stack) for stack in read.plan.stacks] == [16]
    assert left_out(read) == {ReasonCode.OTHER_KIND: 3}


def test_of_an_incomplete_second_pass_the_complete_first_is_taken(tmp_path: Path) -> None:
    first = stack_of(AcquisitionNumber=1)
    read = read_series(tmp_path, [*first, *again(first[:9], AcquisitionNumber=2)])
    assert [len(stack) for stack in read.plan.stacks] == [12]


def test_what_the_better_kind_does_not_cover_is_analysed_of_the_other(tmp_path: Path) -> None:
    sharp = stack_of(count=20, ConvolutionKernel="H60s")
    soft = again(sharp[:12], ConvolutionKernel="H31s")
    read = read_series(tmp_path, [*sharp, *soft])
    assert [len(stack) for stack in read.plan.stacks] == [12, 8]
    assert left_out(read) == {ReasonCode.OTHER_KIND: 12}


def test_a_bone_kernel_in_a_field_of_view_of_its_own_is_left_out_where_the_soft_one_covers_it(
    tmp_path: Path,
) -> None:
    soft = stack_of(ConvolutionKernel="H31s", PixelSpacing=[2.0, 2.0])
    bone = stack_of(ConvolutionKernel="H60s", ImagePositionPatient=None)
    for dataset, place in zip(bone, soft, strict=True):
        x, y, z = place.ImagePositionPatient
        dataset.ImagePositionPatient = [x + 6, y + 8, z]
    read = read_series(tmp_path, [*bone, *soft])
    assert [len(stack) for stack in read.plan.stacks] == [12]
    assert left_out(read) == {ReasonCode.OTHER_KIND: 12}


def test_copies_are_named_and_miss_nothing(tmp_path: Path) -> None:
    first = stack_of()
    twins = deepcopy(first)
    read = read_series(tmp_path, [*first, *twins])
    assert [len(stack) for stack in read.plan.stacks] == [12]
    assert left_out(read) == {ReasonCode.SAME_PLACE: 12}
    assert all(item.alien for item in read.plan.left_out)


def test_different_pictures_that_nothing_tells_apart_are_refused(tmp_path: Path) -> None:
    first = stack_of()
    read = read_series(tmp_path, [*first, *again(first)])
    assert read.refusal is not None
    assert read.refusal.reason.code is ReasonCode.SAME_PLACE


@pytest.mark.parametrize("name", ["InstanceNumber", "AcquisitionTime"])
def test_pairs_of_one_position_that_only_a_running_count_tells_apart_are_refused(
    tmp_path: Path, name: str
) -> None:
    """Somebody rounded the positions: no order of the pairs makes passes of them."""
    datasets = stack_of(count=12)
    for place, dataset in enumerate(datasets):
        dataset.InstanceNumber = 1
        setattr(dataset, name, f"10{place:02d}00" if name == "AcquisitionTime" else place + 1)
        dataset.ImagePositionPatient[2] = 10.0 * (place // 2)
    read = read_series(tmp_path, datasets)
    assert not read.plan.stacks
    assert left_out(read) == {ReasonCode.SAME_PLACE: 12}


def test_positions_that_some_images_share_are_not_believed(tmp_path: Path) -> None:
    datasets = stack_of(count=20)
    for dataset in datasets[12:]:
        dataset.ImagePositionPatient = datasets[12].ImagePositionPatient
    read = read_series(tmp_path, datasets)
    assert [len(stack) for stack in read.plan.stacks] == [13]
    assert left_out(read) == {ReasonCode.SAME_PLACE: 7}
    assert "8 of 20 images state one position" in read.plan.left_out[0].reason.text
    assert not any(item.alien for item in read.plan.left_out)


def _weighted(make: Any, b: float, **changes: Any) -> list[Dataset]:
    return stack_of(make, DiffusionBValue=b, **changes)


def test_b_0_is_refused_together_with_what_is_weighted(tmp_path: Path) -> None:
    read = read_series(tmp_path, [*_weighted(slice_of, 0.0), *again(_weighted(slice_of, 1000.0))])
    assert read.refusal is not None
    assert read.refusal.reason.code is ReasonCode.DIFFUSION


def test_one_weighted_image_does_not_cost_the_others(tmp_path: Path) -> None:
    read = read_series(tmp_path, [*stack_of(slice_of), slice_of(picture(), 20, DiffusionBValue=1000.0)])
    assert read.refusal is None
    assert left_out(read) == {ReasonCode.DIFFUSION: 1}


@pytest.mark.parametrize(
    ("times", "keyed", "taken"), [(2, False, True), (3, False, False), (3, True, True), (9, True, False)]
)
def test_a_few_phases_are_told_apart_and_many_are_a_time_series(
    tmp_path: Path, times: int, keyed: bool, taken: bool
) -> None:
    datasets = []
    for time in range(times):
        phase = again(stack_of(count=6)) if time else stack_of(count=6)
        for dataset in phase:
            dataset.InstanceNumber += 6 * time
            if keyed:
                dataset.TemporalPositionIdentifier = time + 1
        datasets += phase
    read = read_series(tmp_path, datasets)
    assert (read.refusal is None) is taken
    if taken:
        assert [len(stack) for stack in read.plan.stacks] == [6]
        assert {image.place.instance_number for image in read.plan.stacks[0]} == set(
            range(6 * times - 5, 6 * times + 1)
        )
