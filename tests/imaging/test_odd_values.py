"""Odd but valid values, and files that are damaged: the right number in HU, or one image refused."""

import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from neurotriage.core.errors import Refused
from neurotriage.core.values import ReasonCode
from neurotriage.dicom.attributes import described, number, numbers, whole_number
from neurotriage.dicom.headers import read_header
from tests.eligibility.rule import RULE
from tests.imaging.compressed import compressed_slice
from tests.imaging.made import ct_slice_of, enhanced_of, picture, series_in, slice_of, write
from worker.imaging import build_volume, decode_frame, pixels
from worker.imaging.slices import StoredSlice, StoredSlices, thinned
from worker.imaging.units import uncalibrated

pytestmark = pytest.mark.unit


def test_a_monochrome1_ct_keeps_its_hounsfield_units(tmp_path: Path) -> None:
    """How a CT is displayed says nothing of its numbers: +100 HU stays +100 HU."""
    stored = np.full((16, 12), 1124, np.uint16)
    dataset = ct_slice_of(stored, BitsStored=12, HighBit=11, PhotometricInterpretation="MONOCHROME1")
    assert (decode_frame(write(dataset, tmp_path / "a.dcm")) == 100).all()


def test_a_monochrome1_mr_is_turned_about_within_its_rescaled_range(tmp_path: Path) -> None:
    upright = picture().astype(np.uint16)
    scale = {"RescaleSlope": 0.5, "RescaleIntercept": 10}
    inverted = slice_of(
        4095 - upright, BitsStored=12, HighBit=11, PhotometricInterpretation="MONOCHROME1", **scale
    )
    values = decode_frame(write(inverted, tmp_path / "a.dcm"))
    np.testing.assert_allclose(values, upright * 0.5 + 10)


@pytest.mark.parametrize("written", [-2000, 63536])
def test_padding_of_a_signed_ct_is_told_before_the_rescale(tmp_path: Path, written: int) -> None:
    """A steep rescale would bring padding into the range of tissue."""
    pixels_ = np.full((16, 12), 40, np.int16)
    pixels_[:4] = -2000
    dataset = ct_slice_of(pixels_, RescaleSlope=-0.02, RescaleIntercept=0)
    dataset.add_new("PixelPaddingValue", "SS" if written < 0 else "US", written)
    values = decode_frame(write(dataset, tmp_path / "a.dcm"))
    assert (values[:4] == -1024).all()
    np.testing.assert_allclose(values[4:], -0.8, rtol=1e-6)


def test_each_slice_is_rescaled_by_its_own_slope_in_float32(tmp_path: Path) -> None:
    slopes = [0.5, 1.25, 3.0, 0.001]
    stack = [
        slice_of(picture(seed=n), n, RescaleSlope=slope, RescaleIntercept=0.25)
        for n, slope in enumerate(slopes, 1)
    ]
    voxels = build_volume(series_in(tmp_path, stack), RULE).volume.voxels
    for n, slope in enumerate(slopes, 1):
        expected = picture(seed=n).astype(np.float32) * np.float32(slope) + np.float32(0.25)
        np.testing.assert_array_equal(voxels[n - 1], expected)
        assert voxels[n - 1].dtype == np.float32


@pytest.mark.parametrize("kind", [None, "RLE"])
def test_an_overlay_above_the_stored_bits_is_masked_and_the_sign_kept(
    tmp_path: Path, kind: str | None
) -> None:
    true = picture() // np.int16(2) - np.int16(1024)
    dirty = (true.view(np.uint16) & 0x0FFF) | (np.arange(true.size).reshape(true.shape) % 2 << 12)
    bits = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 1}
    path = tmp_path / "a.dcm"
    if kind:
        compressed_slice(path, dirty.astype(np.uint16), kind, **bits)
    else:
        write(slice_of(dirty.astype(np.uint16), **bits), path)
    np.testing.assert_array_equal(decode_frame(path), true)


def test_a_philips_mr_is_scaled_by_the_standard_slope_alone(tmp_path: Path) -> None:
    dataset = slice_of(np.full((16, 12), 100, np.int16), RescaleSlope=2, RescaleIntercept=0)
    block = dataset.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
    block.add_new(0x0E, "FL", 0.02)
    assert (decode_frame(write(dataset, tmp_path / "a.dcm")) == 200).all()


@pytest.mark.parametrize("frames", [0, None, ""])
def test_no_number_of_frames_is_one_frame(tmp_path: Path, frames: Any) -> None:
    stack = [slice_of(picture(seed=n), n) for n in range(1, 4)]
    for dataset in stack:
        dataset.NumberOfFrames = frames
    assert len(build_volume(series_in(tmp_path, stack), RULE).volume.voxels) == 3


def _raw(name: str, vr: str, value: bytes) -> Dataset:
    tag = Tag(name)
    return Dataset({tag: RawDataElement(tag, vr, len(value), value, 0, False, True)})


@pytest.mark.parametrize("vr", ["DS", "UN", "UT", "ST", "LT", "LO", "OB"])
@pytest.mark.parametrize(
    "value", [b"0.5\\0.25", b"0,5\\0,25", b" 0.5\\ 0.25 ", b"0.5,0.25", b"0,5;0,25", b"5e-1\\2.5E-1\0"]
)
def test_numbers_are_read_under_any_value_representation(vr: str, value: bytes) -> None:
    assert numbers(_raw("PixelSpacing", vr, value), "PixelSpacing") == (0.5, 0.25)


@pytest.mark.parametrize("vr", ["US", "UN", "OB", "OW"])
def test_binary_numbers_are_read_under_any_value_representation(vr: str) -> None:
    assert whole_number(_raw("Rows", vr, (513).to_bytes(2, "little")), "Rows") == 513


@pytest.mark.parametrize("value", [b"wide\\wide", b"nan\\1", b"1e999\\1"])
def test_a_refusal_names_the_tag_as_it_is(value: bytes) -> None:
    dataset = _raw("PixelSpacing", "DS", value)
    assert numbers(dataset, "PixelSpacing") == ()
    assert described(dataset, "PixelSpacing") == f"PixelSpacing is '{value.decode()}'"
    assert described(Dataset(), "PixelSpacing") == "PixelSpacing is absent"
    assert described(_raw("PixelSpacing", "DS", b""), "PixelSpacing") == "PixelSpacing is empty"


def test_a_missing_calibration_names_what_is_missing() -> None:
    dataset = _raw("RescaleIntercept", "DS", b"minus")
    assert number(dataset, "RescaleIntercept") is None
    assert uncalibrated(dataset) == "RescaleSlope is absent, RescaleIntercept is 'minus'"


def test_decimal_commas_in_spacing_and_rescale_give_a_volume(tmp_path: Path) -> None:
    series = series_in(tmp_path, [ct_slice_of(picture(seed=n), n) for n in range(1, 5)])
    for instance in series.instances:
        data = instance.path.read_bytes()
        data = data.replace(b"DS\x08\x001.0\\1.0 ", b"UT\0\0\x08\0\0\x001,0\\1,0 ")
        instance.path.write_bytes(data.replace(b"DS\x06\x00-1024 ", b"DS\x06\x00-1024,"))
    volume = build_volume(series, RULE).volume
    assert volume.pixel_spacing_mm == (1.0, 1.0)
    assert len(volume.voxels) == 4


def _damaged(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "cut behind its pixels":
        path.write_bytes(data + b"\xfc\xff\xfc\xffOB\0\0\xff\xff")
    elif how == "cut within its pixels":
        path.write_bytes(data[:-40])
    elif how == "cut within its header":
        path.write_bytes(data[: len(data) // 4])
    elif how == "gone":
        path.unlink()
    elif how == "a folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(b"\0" * 400)


@pytest.mark.parametrize(
    ("how", "left"),
    [
        ("cut behind its pixels", 5), ("cut within its pixels", 4), ("cut within its header", 4),
        ("gone", 4), ("a folder", 4), ("zeros", 4),
    ],
)  # fmt: skip
def test_a_damaged_file_costs_its_image_and_no_more(tmp_path: Path, how: str, left: int) -> None:
    series = series_in(tmp_path, [slice_of(picture(seed=n), n) for n in range(1, 6)])
    _damaged(series.instances[4].path, how)
    built = build_volume(series, RULE)
    assert len(built.volume.voxels) == left
    assert len(built.left_out) == 5 - left
    for item in built.left_out:
        assert item.reason.text


def test_bytes_for_which_pydicom_raises_an_os_error_cost_their_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(slice_of(picture()), tmp_path / "a.dcm")
    for error in (OSError("no tag to read"), RecursionError(), MemoryError(), zlib.error("bad block")):

        def read(*_: object, _error: BaseException = error, **__: object) -> None:
            raise _error

        monkeypatch.setattr(pixels, "read_partial", read)
        with pytest.raises(Refused):
            decode_frame(path)


def test_a_sequence_cut_behind_the_pixels_is_not_read(tmp_path: Path) -> None:
    path = write(slice_of(picture()), tmp_path / "a.dcm")
    with path.open("ab") as file:  # a private sequence whose item says that it is longer than the file
        file.write(b"\xe1\x7f\x10\x10SQ\0\0\x00\x10\0\0\xfe\xff\x00\xe0\x00\x08\0\0\x08\0")
    np.testing.assert_array_equal(decode_frame(path), picture())


def test_a_storage_that_is_away_is_no_fault_of_the_image(tmp_path: Path) -> None:
    for read in (decode_frame, read_header):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "away" / "study" / "a.dcm")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_is_closed_to_us_is_refused(tmp_path: Path) -> None:
    path = write(slice_of(picture()), tmp_path / "a.dcm")
    path.chmod(0)
    with pytest.raises(Refused, match="Permission denied"):
        decode_frame(path)


def test_a_deflated_data_set_is_inflated_within_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(slice_of(picture()), tmp_path / "a.dcm", DeflatedExplicitVRLittleEndian)
    np.testing.assert_array_equal(decode_frame(path), picture())
    monkeypatch.setattr(pixels, "MAX_INFLATED_BYTES", 200)
    with pytest.raises(Refused) as refused:
        decode_frame(path)
    assert refused.value.reason.code is ReasonCode.NOT_DICOM


def test_slices_are_held_as_stored_and_looked_at_in_true_units(tmp_path: Path) -> None:
    datasets = [ct_slice_of(picture(seed=n), n) for n in range(1, 6)]
    voxels = build_volume(series_in(tmp_path, datasets), RULE).volume.voxels
    assert isinstance(voxels, StoredSlices)
    whole = np.asarray(voxels)
    assert (whole.dtype, whole.shape) == (np.float32, (5, 16, 12))
    np.testing.assert_array_equal(voxels[2, 3:5, 1], whole[2, 3:5, 1])
    np.testing.assert_array_equal(voxels[1::2], whole[1::2])
    np.testing.assert_array_equal(voxels[np.array([0, 4])], whole[[0, 4]])
    np.testing.assert_array_equal(voxels[whole.max((1, 2)) > 0], whole)
    np.testing.assert_array_equal(voxels[-1], whole[-1])
    np.testing.assert_array_equal(np.stack(list(voxels)), whole)
    with pytest.raises(IndexError):
        voxels[5]


def test_values_of_32_bits_are_held_in_16_where_they_fit(tmp_path: Path) -> None:
    for most, held_bytes in ((4000, 2), (70_000, 4)):
        stored = picture().astype(np.int32) + most - 4000
        folder = tmp_path / str(most)
        folder.mkdir()
        voxels = build_volume(series_in(folder, [slice_of(stored)]), RULE).volume.voxels
        np.testing.assert_array_equal(voxels[0], stored)
        assert isinstance(voxels, StoredSlices)
        first: StoredSlice = voxels._slices[0]
        assert first.stored.dtype.itemsize == held_bytes


def test_a_stack_too_long_for_memory_is_thinned_evenly_and_says_so(tmp_path: Path) -> None:
    series = series_in(tmp_path, [slice_of(picture(), n) for n in range(1, 31)])
    built = build_volume(series, RULE, most_voxels=10 * 16 * 12)
    assert len(built.volume.voxels) == 10
    assert len(np.unique(np.diff([s.instance_number for s in built.volume.sources]))) == 1
    assert built.missing is None
    assert len(built.left_out) == 20
    assert "10 of 30 images were read, evenly spread" in built.left_out[0].reason.text
    assert thinned([], 5) == ([], [])


def test_an_enhanced_object_is_read_frame_by_frame(tmp_path: Path) -> None:
    frames = [picture(seed=n) for n in range(4)]
    path = write(enhanced_of(frames, [[0.0, 0.0, 5.0 * n] for n in range(4)]), tmp_path / "a.dcm")
    for n in (3, 0, 2):
        np.testing.assert_array_equal(decode_frame(path, n + 1), frames[n])
