"""Compressed pixel data: streams are checked before they are decoded, fragments belong to frames."""

import struct
from pathlib import Path

import numpy as np
import pytest
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless, RLELossless

from neurotriage.core.errors import Refused
from neurotriage.core.values import ReasonCode
from tests.imaging.compressed import KINDS, compressed_slice, packed, stream_of
from tests.imaging.made import enhanced_of, picture, slice_of, write
from worker.decoding import process, read_stream
from worker.imaging import decode_frame, open_pixels, pixels

pytestmark = pytest.mark.unit

PIXELS = picture(64, 48).astype(np.uint16)


@pytest.fixture
def no_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever reaches a decoder fails the test."""

    def decode(*_: object) -> None:
        raise AssertionError("a stream was decoded")

    monkeypatch.setattr(process.FrameDecoder, "decode", decode)


def _refused(path: Path) -> str:
    with pytest.raises(Refused) as refused:
        decode_frame(path)
    assert refused.value.reason.code is ReasonCode.UNREADABLE_PIXELS
    return refused.value.reason.text


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_comes_out_as_it_went_in(tmp_path: Path, kind: str) -> None:
    np.testing.assert_array_equal(decode_frame(compressed_slice(tmp_path / "a.dcm", PIXELS, kind)), PIXELS)


@pytest.mark.usefixtures("no_decoder")
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "RLE"])
def test_a_stream_larger_than_its_header_says_is_refused_with_both_sizes(tmp_path: Path, kind: str) -> None:
    path = compressed_slice(tmp_path / "a.dcm", PIXELS, kind, Rows=32, Columns=24)
    sentence = _refused(path)
    assert f"the {kind} stream holds 64 x 48 pixels" in sentence
    assert "32 x 24" in sentence


@pytest.mark.usefixtures("no_decoder")
def test_an_rle_stream_that_no_image_of_this_size_fills_is_refused(tmp_path: Path) -> None:
    sentence = _refused(compressed_slice(tmp_path / "a.dcm", PIXELS, "RLE", Rows=16, Columns=8))
    assert "RLE stream holds" in sentence
    assert "16 x 8" in sentence


@pytest.mark.usefixtures("no_decoder")
@pytest.mark.parametrize(("kind", "reason"), [("RLE", "2 segments"), ("JPEG", "16 bits")])
def test_a_stream_of_more_bits_than_allocated_is_refused(tmp_path: Path, kind: str, reason: str) -> None:
    path = compressed_slice(tmp_path / "a.dcm", PIXELS, kind, BitsAllocated=8, BitsStored=8, HighBit=7)
    assert reason in _refused(path)


@pytest.mark.usefixtures("no_decoder")
def test_a_frame_larger_than_any_slice_is_refused_by_its_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixels, "MAX_FRAME_PX", 32 * 32)
    assert "64 x 48 pixels a frame; 32 x 32 can be read" in _refused(
        compressed_slice(tmp_path / "a.dcm", PIXELS)
    )


@pytest.mark.parametrize("process_number", range(0xC0, 0xD0))
def test_the_size_of_every_jpeg_process_is_read(process_number: int) -> None:
    if process_number in (0xC4, 0xC8, 0xCC):
        pytest.skip("a table, no start of frame")
    frame = struct.pack(">BBHBHHB", 0xFF, process_number, 11, 12, 640, 480, 1)
    table = struct.pack(">BBHB", 0xFF, 0xC4, 4, 0) + b"\0"
    header = read_stream(b"\xff\xd8" + table + b"\xff" + frame + b"\0" * 8)
    assert header is not None
    assert (header.kind, header.rows, header.columns, header.bits) == ("JPEG", 640, 480, 12)


@pytest.mark.parametrize("cut", [4, 12, 30])
@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_cut_in_its_header_is_refused(tmp_path: Path, kind: str, cut: int) -> None:
    path = packed(slice_of(PIXELS), tmp_path / "a.dcm", [stream_of(PIXELS, kind)[:cut]], KINDS[kind])
    assert _refused(path)


def test_one_cut_into_very_many_tiles_is_refused() -> None:
    size = struct.pack(">H8IH3B", 0, 4096, 4096, 0, 0, 1, 1, 0, 0, 1, 15, 1, 1)
    with pytest.raises(ValueError, match="tiles"):
        read_stream(b"\xff\x4f\xff\x51\x00\x29" + size)


@pytest.mark.parametrize("parts", [2, 3, 7])
def test_a_single_frame_is_all_its_fragments(tmp_path: Path, parts: int) -> None:
    stream = stream_of(PIXELS, "JPEG-LS")
    step = len(stream) // parts // 2 * 2
    cuts = [stream[i * step : (i + 1) * step if i + 1 < parts else None] for i in range(parts)]
    path = packed(slice_of(PIXELS), tmp_path / "a.dcm", cuts, JPEGLSLossless)
    np.testing.assert_array_equal(decode_frame(path), PIXELS)


def test_an_offset_table_with_more_entries_than_frames_is_no_obstacle(tmp_path: Path) -> None:
    streams = [stream_of(PIXELS + np.uint16(n), "JPEG-LS") for n in range(2)]
    cuts = [part for s in streams for part in (s[: len(s) // 4 * 2], s[len(s) // 4 * 2 :])]
    for frames, fragments in ((1, cuts[:2]), (2, cuts)):
        places = [[0.0, 0.0, 5.0 * n] for n in range(frames)]
        dataset = enhanced_of([PIXELS] * frames, places)
        path = packed(dataset, tmp_path / f"{frames}.dcm", fragments, JPEGLSLossless)
        dataset.PixelData = encapsulate(fragments, has_bot=True)
        dataset.save_as(path)
        opened = open_pixels(path)
        for number in range(frames):
            np.testing.assert_array_equal(opened.frame(number + 1), PIXELS + number)


@pytest.mark.parametrize("table", ["basic", "extended"])
def test_frames_of_several_fragments_are_told_by_the_offset_table(tmp_path: Path, table: str) -> None:
    """RLE segments have no start marker, so only a table can tell where a frame begins."""
    streams = [stream_of(PIXELS + np.uint16(n), "RLE") for n in range(3)]
    dataset = enhanced_of([PIXELS] * 3, [[0.0, 0.0, 5.0 * n] for n in range(3)])
    path = packed(dataset, tmp_path / "a.dcm", streams, RLELossless)
    whole = encapsulate(streams, fragments_per_frame=2, has_bot=table == "basic")
    dataset.PixelData = whole
    if table == "extended":
        _, _, lengths = encapsulate_extended(streams)
        sizes = [len(part) for part in _item_values(whole)]
        begins = [sum(sizes[: 2 * n]) + 8 * 2 * n for n in range(3)]
        dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = struct.pack("<3Q", *begins), lengths
    dataset.save_as(path)
    for number in range(3):
        np.testing.assert_array_equal(open_pixels(path).frame(number + 1), PIXELS + number)


def _item_values(data: bytes) -> list[bytes]:
    place, values = 0, []
    while data[place : place + 4] == b"\xfe\xff\x00\xe0":
        length = int.from_bytes(data[place + 4 : place + 8], "little")
        values.append(data[place + 8 : place + 8 + length])
        place += 8 + length
    return values[1:]


def test_fragments_that_fit_no_count_of_frames_are_refused(tmp_path: Path) -> None:
    dataset = enhanced_of([PIXELS] * 2, [[0.0, 0.0, 0.0], [0.0, 0.0, 5.0]])
    stream = stream_of(PIXELS, "RLE")
    path = packed(dataset, tmp_path / "a.dcm", [stream, stream, stream], RLELossless)
    assert "3 fragments cannot be told apart into 2 frames" in _refused(path)


def test_a_file_cut_within_its_last_frame_still_gives_the_others(tmp_path: Path) -> None:
    dataset = enhanced_of([PIXELS] * 2, [[0.0, 0.0, 0.0], [0.0, 0.0, 5.0]])
    path = packed(dataset, tmp_path / "a.dcm", [stream_of(PIXELS, "RLE")] * 2, RLELossless)
    path.write_bytes(path.read_bytes()[:-100])
    np.testing.assert_array_equal(open_pixels(path).frame(1), PIXELS)
    with pytest.raises(Refused, match="the file ends within"):
        open_pixels(path).frame(2)


@pytest.mark.parametrize("kind", KINDS)
def test_compressed_data_labelled_uncompressed_are_read_by_their_kind(tmp_path: Path, kind: str) -> None:
    path = packed(slice_of(PIXELS), tmp_path / "a.dcm", [stream_of(PIXELS, kind)], ExplicitVRLittleEndian)
    np.testing.assert_array_equal(decode_frame(path), PIXELS)


def test_one_compression_labelled_as_another_is_read_by_its_kind(tmp_path: Path) -> None:
    path = packed(slice_of(PIXELS), tmp_path / "a.dcm", [stream_of(PIXELS, "JPEG-LS")], RLELossless)
    np.testing.assert_array_equal(decode_frame(path), PIXELS)


def test_a_stream_without_items_around_it_is_read(tmp_path: Path) -> None:
    dataset = slice_of(PIXELS, PixelData=stream_of(PIXELS, "JPEG-LS"))
    dataset["PixelData"].VR = "OW"
    np.testing.assert_array_equal(decode_frame(write(dataset, tmp_path / "a.dcm")), PIXELS)


def test_what_is_labelled_uncompressed_and_is_of_no_kind_is_refused_as_mislabelled(tmp_path: Path) -> None:
    path = packed(slice_of(PIXELS), tmp_path / "a.dcm", [b"\1\2\3\4" * 100], ExplicitVRLittleEndian)
    assert "compressed data labelled with an uncompressed transfer syntax" in _refused(path)
