"""Decoding may end its process: that costs one image, and the next one is decoded."""

import contextlib
import os
import resource
import signal
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import billiard
import numpy as np
import pytest

from neurotriage.core.errors import Refused
from neurotriage.core.values import ReasonCode
from neurotriage.dicom.geometry import FrameGeometry, frames_of
from tests.imaging.compressed import KINDS, compressed_slice, packed, stream_of
from tests.imaging.made import picture, slice_of
from worker.decoding import DecoderEnded, DecodeRequest, FrameDecoder, process_decoder
from worker.decoding.process import FRAME_LIMIT_S
from worker.imaging import decode_frame, pixels
from worker.imaging.pixels import open_pixels
from worker.imaging.slices import MAX_DECODER_ENDS, read_slices

PIXELS = picture(64, 48).astype(np.uint16)
STREAM = stream_of(PIXELS, "RLE")
REQUEST = DecodeRequest("1.2.840.10008.1.2.5", 64, 48, 1, 16, 16, False, False, len(STREAM))


@pytest.fixture
def decoder() -> Iterator[FrameDecoder]:
    with FrameDecoder() as own:
        own.decode(REQUEST, STREAM)
        yield own


def _pid(decoder: FrameDecoder) -> int:
    assert decoder.pid is not None
    return decoder.pid


def test_one_child_decodes_many_frames(decoder: FrameDecoder) -> None:
    pid = decoder.pid
    for _ in range(3):
        np.testing.assert_array_equal(decoder.decode(REQUEST, STREAM), PIXELS)
    assert decoder.pid == pid


def test_a_crash_costs_one_frame_and_a_fresh_child_goes_on(decoder: FrameDecoder) -> None:
    os.kill(_pid(decoder), signal.SIGSEGV)
    with pytest.raises(DecoderEnded, match="SIGSEGV") as ended:
        decoder.decode(REQUEST, STREAM)
    assert ended.value.reason.code is ReasonCode.UNREADABLE_PIXELS
    np.testing.assert_array_equal(decoder.decode(REQUEST, STREAM), PIXELS)


def test_a_child_killed_from_outside_costs_no_frame(decoder: FrameDecoder) -> None:
    os.kill(_pid(decoder), signal.SIGKILL)
    np.testing.assert_array_equal(decoder.decode(REQUEST, STREAM), PIXELS)


def test_a_child_that_hangs_is_ended_after_its_time() -> None:
    with FrameDecoder(limit_s=1.0) as decoder:
        decoder.decode(REQUEST, STREAM)
        hung = _pid(decoder)
        os.kill(hung, signal.SIGSTOP)
        with pytest.raises(DecoderEnded, match="more than 1 s"):
            decoder.decode(REQUEST, STREAM)
        assert not Path(f"/proc/{hung}").exists()
        np.testing.assert_array_equal(decoder.decode(REQUEST, STREAM), PIXELS)


def test_a_frame_that_needs_more_memory_than_there_is_costs_itself() -> None:
    side = 4096
    large = stream_of(np.zeros((side, side), np.uint16), "RLE")
    request = DecodeRequest("1.2.840.10008.1.2.5", side, side, 1, 16, 16, False, False, len(large))
    with FrameDecoder(memory_bytes=170 << 20) as decoder:
        with pytest.raises(Refused, match=r"memory|ended"):
            decoder.decode(request, large)
        np.testing.assert_array_equal(decoder.decode(REQUEST, STREAM), PIXELS)


def _claiming(kind: str, side: int) -> bytes:
    """A stream of 64 x 48 pixels whose header says ``side`` x ``side``; that of RLE says no size."""
    stream = bytearray(stream_of(PIXELS, kind))
    if kind in ("JPEG", "JPEG-LS"):
        at = stream.find(b"\xff\xc3" if kind == "JPEG" else b"\xff\xf7")
        stream[at + 5 : at + 9] = struct.pack(">HH", side, side)
    elif kind != "RLE":
        at = stream.find(b"\xff\x4f\xff\x51")
        stream[at + 8 : at + 16] = stream[at + 24 : at + 32] = struct.pack(">II", side, side)
    return bytes(stream)


@pytest.mark.parametrize("kind", KINDS)
def test_a_small_file_that_claims_the_largest_image_costs_bounded_time_and_memory(
    tmp_path: Path, kind: str
) -> None:
    side = 4096
    header = slice_of(PIXELS, Rows=side, Columns=side)
    path = packed(header, tmp_path / "a.dcm", [_claiming(kind, side)], KINDS[kind])
    begun, before_kb = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with contextlib.suppress(Refused):  # libjpeg fills what is missing and says nothing
        decode_frame(path)
    assert time.monotonic() - begun < FRAME_LIMIT_S + 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 4 * side * side * 4 / 1024
    np.testing.assert_array_equal(decode_frame(compressed_slice(tmp_path / "b.dcm", PIXELS)), PIXELS)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_cut_in_its_data_is_refused_and_never_filled_up(
    tmp_path: Path, kind: str, share: float
) -> None:
    """libjpeg fills the rest with grey, in which a lesion would be lost; CharLS may read on for ever."""
    stream = stream_of(PIXELS, kind)
    cut = stream[: int(len(stream) * share) // 2 * 2]
    path = packed(slice_of(PIXELS), tmp_path / "a.dcm", [cut], KINDS[kind])
    begun = time.monotonic()
    with pytest.raises(Refused) as refused:
        decode_frame(path)
    assert refused.value.reason.code is ReasonCode.UNREADABLE_PIXELS
    assert not isinstance(refused.value, DecoderEnded)
    assert time.monotonic() - begun < FRAME_LIMIT_S


def test_what_a_decoder_says_of_bad_bytes_costs_the_frame_alone(decoder: FrameDecoder) -> None:
    pid = decoder.pid
    broken = STREAM[:64] + b"\0" * 10
    request = DecodeRequest("1.2.840.10008.1.2.5", 64, 48, 1, 16, 16, False, False, len(broken))
    with pytest.raises(Refused, match="cannot be decoded"):
        decoder.decode(request, broken)
    np.testing.assert_array_equal(decoder.decode(REQUEST, STREAM), PIXELS)
    assert decoder.pid == pid


def test_a_series_that_ends_the_decoder_again_and_again_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[DecodeRequest] = []

    class Ends:
        def decode(self, request: DecodeRequest, _stream: bytes) -> None:
            asked.append(request)
            raise DecoderEnded(ReasonCode.UNREADABLE_PIXELS, "it ended")

    monkeypatch.setattr(pixels, "process_decoder", Ends)
    paths = [compressed_slice(tmp_path / f"{n}.dcm", PIXELS, number=n) for n in range(1, 9)]
    frames = [
        frame
        for path in paths
        for frame in frames_of(open_pixels(path).dataset, path)
        if isinstance(frame, FrameGeometry)
    ]
    read, refused = read_slices(frames)
    assert not read
    assert len(refused) == 8
    assert len(asked) == MAX_DECODER_ENDS
    assert "not tried" in [reason.text for reason in refused.values()][-1]


def _decode_in_daemon(path: Path) -> None:
    assert billiard.current_process().daemon
    np.testing.assert_array_equal(decode_frame(path), PIXELS)


def test_a_worker_process_that_may_have_no_children_decodes(tmp_path: Path) -> None:
    """Celery's pool processes are daemonic, and forked."""
    path = compressed_slice(tmp_path / "a.dcm", PIXELS)
    decode_frame(path)
    mine = process_decoder().pid
    worker = billiard.Process(target=_decode_in_daemon, args=(path,))
    worker.daemon = True
    worker.start()
    worker.join(60)
    assert worker.exitcode == 0
    decode_frame(path)
    assert process_decoder().pid == mine


def test_the_child_knows_no_torch(decoder: FrameDecoder) -> None:
    mapped = Path(f"/proc/{_pid(decoder)}/maps").read_text()
    assert "numpy" in mapped
    assert "torch" not in mapped
