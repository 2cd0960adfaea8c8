"""A series becomes one volume with the geometry of its headers, and says what is missing."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from neurotriage.core.errors import Refused
from neurotriage.core.values import Plane, ReasonCode
from tests.eligibility.rule import RULE
from tests.imaging.made import SAGITTAL, ct_slice_of, enhanced_of, picture, series_in, slice_of
from worker.imaging import build_volume

pytestmark = pytest.mark.unit


def _stack(numbers: range | list[int], **attributes: Any) -> list[Dataset]:
    return [slice_of(picture(seed=number), number, **attributes) for number in numbers]


def test_slices_are_sorted_along_the_normal_and_keep_their_sources(tmp_path: Path) -> None:
    volume = build_volume(series_in(tmp_path, _stack([3, 1, 4, 2])), RULE).volume
    assert [source.instance_number for source in volume.sources] == [1, 2, 3, 4]
    np.testing.assert_array_equal(volume.voxels[2], picture(seed=3))
    np.testing.assert_array_equal(volume.positions_mm[:, 2], [5, 10, 15, 20])


def test_slices_turned_upside_down_are_sorted_along_their_own_normal(tmp_path: Path) -> None:
    turned = [-1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    volume = build_volume(
        series_in(tmp_path, _stack(range(1, 5), ImageOrientationPatient=turned)), RULE
    ).volume
    np.testing.assert_array_equal(volume.positions_mm[:, 2], [20, 15, 10, 5])
    assert np.linalg.det(volume.affine[:3, :3]) > 0


def test_a_tilted_gantry_gives_a_sheared_affine(tmp_path: Path) -> None:
    tilt = np.deg2rad(18.5)
    orientation = [1.0, 0.0, 0.0, 0.0, float(np.cos(tilt)), float(-np.sin(tilt))]
    datasets = [
        ct_slice_of(
            picture(seed=number),
            number,
            ImageOrientationPatient=orientation,
            ImagePositionPatient=[-125.0, -120.0, 4.2 * number],
            PixelSpacing=[0.5, 0.7],
        )
        for number in range(1, 10)
    ]
    volume = build_volume(series_in(tmp_path, datasets), RULE).volume
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    for slice_index, x, y in ((0, 0, 0), (4, 11, 0), (8, 3, 15)):
        expected = np.array([-125.0, -120.0, 4.2 * (slice_index + 1)]) + row * 0.7 * x + column * 0.5 * y
        position = volume.affine @ [x, y, slice_index, 1.0]
        np.testing.assert_allclose(position[:3], expected, atol=1e-6)
        np.testing.assert_allclose(volume.to_patient_mm(x, y, slice_index), expected, atol=1e-6)


def test_non_square_pixels_and_plane_are_kept(tmp_path: Path) -> None:
    datasets = [
        slice_of(
            picture(seed=number),
            number,
            ImageOrientationPatient=list(SAGITTAL),
            ImagePositionPatient=[4.8 * number, -130.0, 130.0],
            PixelSpacing=[1.61, 1.59],
        )
        for number in range(1, 6)
    ]
    volume = build_volume(series_in(tmp_path, datasets), RULE).volume
    assert volume.pixel_spacing_mm == (1.61, 1.59)
    assert volume.plane is Plane.SAGITTAL


def test_of_a_dual_echo_series_the_later_echo_is_taken(tmp_path: Path) -> None:
    places = range(1, 6)
    early = [slice_of(picture(), n, EchoTime=15.0, RepetitionTime=3000.0) for n in places]
    late = [slice_of(picture(seed=1), n + 10, EchoTime=100.0, RepetitionTime=3000.0) for n in places]
    for first, second in zip(early, late, strict=True):
        second.ImagePositionPatient = first.ImagePositionPatient
    volume = build_volume(series_in(tmp_path, early + late), RULE).volume
    assert len(volume.voxels) == 5
    assert volume.sequence == "T2"


def test_an_enhanced_object_gives_the_same_volume_as_single_frames(tmp_path: Path) -> None:
    singles, frames = tmp_path / "singles", tmp_path / "frames"
    singles.mkdir()
    frames.mkdir()
    order = [2, 0, 1, 3]
    enhanced = enhanced_of(
        [picture(seed=n + 1) for n in order], [[-100.0, -110.0, 5.0 * (n + 1)] for n in order]
    )
    single = build_volume(series_in(singles, _stack(range(1, 5))), RULE).volume
    enhanced_volume = build_volume(series_in(frames, [enhanced]), RULE).volume
    np.testing.assert_array_equal(single.voxels, enhanced_volume.voxels)
    np.testing.assert_allclose(single.affine, enhanced_volume.affine, atol=1e-9)
    assert [source.frame for source in enhanced_volume.sources] == [2, 3, 1, 4]
    assert [source.frame for source in single.sources] == [None] * 4


def test_a_missing_slice_is_reported(tmp_path: Path) -> None:
    built = build_volume(series_in(tmp_path, _stack([1, 2, 3, 4, 6, 7, 8, 9])), RULE)
    assert built.missing is not None
    assert built.missing.code is ReasonCode.MISSING_IMAGES
    assert built.missing.text.startswith("1 of 9 slices")


def test_missing_slices_are_noticed_without_instance_numbers(tmp_path: Path) -> None:
    built = build_volume(series_in(tmp_path, _stack([1, 2, 3, 6, 7, 8, 9], InstanceNumber=None)), RULE)
    assert built.missing is not None
    assert "2 of 9" in built.missing.text


def test_a_contiguous_part_of_a_longer_series_misses_nothing(tmp_path: Path) -> None:
    assert (
        build_volume(series_in(tmp_path, _stack(range(7, 13), ImagesInAcquisition=22)), RULE).missing is None
    )


def test_a_count_stated_by_the_archive_is_believed(tmp_path: Path) -> None:
    built = build_volume(series_in(tmp_path, _stack(range(1, 7), NumberOfSeriesRelatedInstances=9)), RULE)
    assert built.missing is not None
    assert "9" in built.missing.text


def test_thicker_slices_with_wider_steps_are_no_hole(tmp_path: Path) -> None:
    thin = [
        ct_slice_of(picture(), n, ImagePositionPatient=[0.0, 0.0, 5.0 * n], SliceThickness=5.0)
        for n in range(1, 9)
    ]
    thick = [
        ct_slice_of(picture(), 20 - n, ImagePositionPatient=[0.0, 0.0, 40.0 + 10.0 * n], SliceThickness=10.0)
        for n in range(1, 3)
    ]
    assert build_volume(series_in(tmp_path, thin + thick), RULE).missing is None


def test_positions_win_over_the_spacing_and_the_thickness_that_a_header_states(tmp_path: Path) -> None:
    datasets = _stack(range(1, 9), SpacingBetweenSlices=9.0, SliceThickness=8.0)
    built = build_volume(series_in(tmp_path, datasets), RULE)
    np.testing.assert_allclose(np.diff(built.volume.positions_mm[:, 2]), 5.0)
    np.testing.assert_allclose(built.volume.affine[:3, 2], [0, 0, 5.0])
    assert built.missing is None
    assert built.left_out == ()


def test_uneven_slices_keep_their_positions_and_none_is_lost(tmp_path: Path) -> None:
    places = [0.0, 2.5, 5.0, 10.0, 12.5, 22.5, 25.0]
    datasets = [
        ct_slice_of(picture(seed=n), 50 - n, ImagePositionPatient=[0.0, 0.0, z]) for n, z in enumerate(places)
    ]
    built = build_volume(series_in(tmp_path, datasets), RULE)
    np.testing.assert_allclose(built.volume.positions_mm[:, 2], places)
    for n in range(len(places)):  # by position, against the instance numbers
        np.testing.assert_array_equal(built.volume.voxels[n], picture(seed=n).astype(np.float32) - 1024)


def test_two_slabs_with_running_numbers_miss_nothing(tmp_path: Path) -> None:
    datasets = [
        slice_of(picture(), n, ImagePositionPatient=[0.0, 0.0, 5.0 * n + (10.0 if n > 4 else 0.0)])
        for n in range(1, 9)
    ]
    assert build_volume(series_in(tmp_path, datasets), RULE).missing is None


def test_an_undecodable_image_is_left_out_and_is_not_called_missing(tmp_path: Path) -> None:
    series = series_in(tmp_path, _stack(range(1, 9)))
    broken = series.instances[3].path
    broken.write_bytes(broken.read_bytes()[:-50])
    built = build_volume(series, RULE)
    assert len(built.volume.voxels) == 7
    assert [left.reason.code for left in built.left_out] == [ReasonCode.UNREADABLE_PIXELS]
    assert built.missing is None


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"ImagePositionPatient": None}, ReasonCode.NO_GEOMETRY),
        ({"ImageOrientationPatient": [0.0] * 6}, ReasonCode.NO_GEOMETRY),
        ({"PixelSpacing": None}, ReasonCode.NO_GEOMETRY),
        ({"NumberOfFrames": 5}, ReasonCode.NO_GEOMETRY),
        ({"RescaleSlope": None}, ReasonCode.NO_CALIBRATION),
        ({"RescaleSlope": 0}, ReasonCode.NO_CALIBRATION),
        ({"PixelData": None}, ReasonCode.NO_PIXELS),
    ],
)
def test_a_series_that_cannot_be_placed_or_read_is_refused(
    tmp_path: Path, fault: dict[str, Any], code: ReasonCode
) -> None:
    series = series_in(tmp_path, [ct_slice_of(picture(), number, **fault) for number in (1, 2)])
    with pytest.raises(Refused) as refused:
        build_volume(series, RULE)
    assert refused.value.reason.code is code


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_files_end_in_a_volume_or_a_reason(tmp_path: Path) -> None:
    series = series_in(tmp_path, _stack(range(1, 4)))
    random = np.random.default_rng(7)
    intact = [instance.path.read_bytes() for instance in series.instances]
    for _ in range(150):
        for instance, content in zip(series.instances, intact, strict=True):
            damaged = bytearray(content)
            for place in random.integers(128, len(content) - 400, 6):
                damaged[place] = random.integers(256)
            instance.path.write_bytes(damaged)
        with contextlib.suppress(Refused):
            assert len(build_volume(series, RULE).volume.voxels) > 0
