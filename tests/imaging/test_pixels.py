"""Pixels come out in true units, or the file is refused with a reason."""

import tracemalloc
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from neurotriage.core.errors import Refused
from neurotriage.core.values import ReasonCode
from tests.imaging.made import ct_slice_of, enhanced_of, picture, slice_of, write
from worker.decoding import plugin as decoders
from worker.imaging import decode_frame, open_pixels

pytestmark = pytest.mark.unit


def _refusal(path: Path) -> ReasonCode:
    with pytest.raises(Refused) as refused:
        decode_frame(path)
    assert refused.value.reason.text
    return refused.value.reason.code


def test_a_ct_is_read_in_hounsfield_units(tmp_path: Path) -> None:
    path = write(ct_slice_of(picture(), RescaleSlope=2, RescaleIntercept=-1000), tmp_path / "ct.dcm")
    np.testing.assert_array_equal(decode_frame(path), picture().astype(np.float32) * 2 - 1000)


def test_an_mr_without_rescale_is_read_as_stored(tmp_path: Path) -> None:
    path = write(slice_of(picture()), tmp_path / "mr.dcm")
    np.testing.assert_array_equal(decode_frame(path), picture())


def test_each_frame_is_read_with_its_own_rescale(tmp_path: Path) -> None:
    dataset = enhanced_of([picture(), picture()], [[0, 0, 0], [0, 0, 5]])
    for slope, item in zip((1.0, 3.0), dataset.PerFrameFunctionalGroupsSequence, strict=True):
        values = pydicom.Dataset()
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = slope, 7, "US"
        item.PixelValueTransformationSequence = pydicom.Sequence([values])
    pixels = open_pixels(write(dataset, tmp_path / "enhanced.dcm"))
    np.testing.assert_array_equal(pixels.frame(1), picture() + np.float32(7))
    np.testing.assert_array_equal(pixels.frame(2), picture() * np.float32(3) + 7)


def test_monochrome1_is_turned_into_the_sense_of_monochrome2(tmp_path: Path) -> None:
    upright = picture().astype(np.uint16)
    inverted = 4095 - upright
    dataset = slice_of(inverted, BitsStored=12, HighBit=11, PhotometricInterpretation="MONOCHROME1")
    path = write(dataset, tmp_path / "inverted.dcm")
    np.testing.assert_array_equal(decode_frame(path), upright)


@pytest.mark.parametrize(("make", "outside"), [(ct_slice_of, -1024.0), (slice_of, 0.0)])
def test_signed_padding_becomes_air(tmp_path: Path, make: Any, outside: float) -> None:
    pixels = picture() + np.int16(100)
    pixels[0, :4] = -2000
    dataset = make(pixels)
    dataset.add_new("PixelPaddingValue", "SS", -2000)
    values = decode_frame(write(dataset, tmp_path / "padded.dcm"))
    assert (values[0, :4] == outside).all()
    intercept = getattr(dataset, "RescaleIntercept", 0)
    np.testing.assert_array_equal(values[1:], pixels[1:] + np.float32(intercept))


def test_a_padding_range_becomes_air(tmp_path: Path) -> None:
    dataset = ct_slice_of(picture() + np.int16(1000))
    dataset.add_new("PixelPaddingValue", "SS", 4500)
    dataset.add_new("PixelPaddingRangeLimit", "SS", 5000)
    values = decode_frame(write(dataset, tmp_path / "range.dcm"))
    padded = picture() + 1000 >= 4500
    assert padded.any()
    assert (values[padded] == -1024).all()
    assert (values[~padded] > -1024).all()


def test_undeclared_padding_below_any_ct_number_becomes_air(tmp_path: Path) -> None:
    pixels = picture()
    pixels[0, 0] = -3000
    assert decode_frame(write(ct_slice_of(pixels), tmp_path / "ct.dcm"))[0, 0] == -1024


def test_bits_above_those_stored_are_ignored(tmp_path: Path) -> None:
    signed = picture() // np.int16(2) - np.int16(1000)  # fits 12 bits
    dirty = ((signed.view(np.uint16) & 0x0FFF) | 0xA000).view(np.int16)
    path = write(slice_of(dirty, BitsStored=12, HighBit=11), tmp_path / "dirty.dcm")
    np.testing.assert_array_equal(decode_frame(path), signed)


def test_samples_stored_in_the_high_bits_are_shifted_down(tmp_path: Path) -> None:
    high = picture().astype(np.uint16) << 4
    path = write(slice_of(high, BitsStored=12, HighBit=15), tmp_path / "high.dcm")
    np.testing.assert_array_equal(decode_frame(path), picture())


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_native_transfer_syntaxes_give_the_same_pixels(tmp_path: Path, syntax: pydicom.uid.UID) -> None:
    dataset = slice_of(picture())
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = picture().byteswap().tobytes()
    path = write(dataset, tmp_path / "native.dcm", syntax)
    np.testing.assert_array_equal(decode_frame(path), picture())


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1])
def test_lossless_transfer_syntaxes_give_the_same_pixels(tmp_path: Path, syntax: pydicom.uid.UID) -> None:
    pixels = picture(64, 48).astype(np.uint16)
    dataset = slice_of(pixels, BitsStored=12, HighBit=11)
    path = write(dataset, tmp_path / "native.dcm")
    if syntax == JPEGLosslessSV1:
        stream = imagecodecs.ljpeg_encode(pixels, bitspersample=12)
        dataset.PixelData = encapsulate([bytes(stream)])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = syntax
    else:
        dataset.compress(syntax, generate_instance_uid=False)
    packed = tmp_path / "packed.dcm"
    dataset.save_as(packed)
    np.testing.assert_array_equal(decode_frame(packed), decode_frame(path))


def test_a_jpeg_stream_larger_than_its_header_says_is_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = slice_of(picture(64, 48).astype(np.uint16), Rows=32)
    path = write(dataset, tmp_path / "lying.dcm")
    stream = imagecodecs.ljpeg_encode(picture(64, 48).astype(np.uint16))
    dataset.PixelData = encapsulate([bytes(stream)])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    dataset.save_as(path)
    decoded: list[bytes] = []
    monkeypatch.setattr(imagecodecs, "jpeg_decode", decoded.append)
    assert _refusal(path) is ReasonCode.UNREADABLE_PIXELS
    assert not decoded


def test_the_jpeg_plug_in_may_be_registered_again() -> None:
    decoders.register()
    decoders.register()
    assert decoders.is_available(JPEGLosslessSV1)
    assert not decoders.is_available(HTJ2KLossless)


def test_a_file_without_preamble_and_meta_is_read(tmp_path: Path) -> None:
    path = tmp_path / "bare.dcm"
    pydicom.dcmwrite(path, slice_of(picture()), implicit_vr=True, little_endian=True)
    assert path.read_bytes()[:2] == b"\x08\x00"
    np.testing.assert_array_equal(decode_frame(path), picture())


def test_truncated_pixel_data_is_refused(tmp_path: Path) -> None:
    path = write(slice_of(picture()), tmp_path / "short.dcm")
    path.write_bytes(path.read_bytes()[:-20])
    assert _refusal(path) is ReasonCode.UNREADABLE_PIXELS


@pytest.mark.parametrize(
    "lie",
    [
        {"Rows": 60000, "Columns": 60000},
        {"Rows": 16000, "Columns": 16000},
        {"NumberOfFrames": 2_000_000_000},
        {"NumberOfFrames": -1},
        {"Rows": 0},
        {"BitsAllocated": 64},
    ],
)
def test_a_lying_size_is_refused_without_allocating_it(tmp_path: Path, lie: dict[str, int]) -> None:
    path = write(slice_of(picture(), **lie), tmp_path / "lying.dcm")
    tracemalloc.start()
    try:
        assert _refusal(path) is ReasonCode.UNREADABLE_PIXELS
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_colour_is_refused(tmp_path: Path) -> None:
    dataset = slice_of(picture(), SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    assert _refusal(write(dataset, tmp_path / "rgb.dcm")) is ReasonCode.COLOUR


def test_a_file_without_pixels_is_refused(tmp_path: Path) -> None:
    path = write(slice_of(picture(), PixelData=None), tmp_path / "empty.dcm")
    assert _refusal(path) is ReasonCode.NO_PIXELS


def test_an_undecodable_transfer_syntax_is_refused(tmp_path: Path) -> None:
    dataset = slice_of(picture())
    path = write(dataset, tmp_path / "mpeg.dcm")
    dataset.PixelData = encapsulate([b"\0" * 64])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.MPEG2MPML
    dataset.save_as(path)
    assert _refusal(path) is ReasonCode.UNREADABLE_PIXELS


def test_a_text_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.dcm"
    path.write_text("This is not an image. " * 40)
    assert _refusal(path) in (ReasonCode.NOT_DICOM, ReasonCode.NO_PIXELS)


def test_a_frame_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = write(slice_of(picture()), tmp_path / "one.dcm")
    with pytest.raises(Refused):
        decode_frame(path, 2)
