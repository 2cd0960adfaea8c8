"""Compressed pixel data to stored values: streams are checked first, then decoded in a child process.

Bad bytes may crash the child, not the worker. The package imports nothing of ``worker.imaging``, so that the
child starts fast.
"""

from worker.decoding.fragments import Fragments, starts_with_item
from worker.decoding.process import DecoderEnded, FrameDecoder, process_decoder
from worker.decoding.protocol import DecodeRequest
from worker.decoding.stream import ImageSize, StreamHeader, read_stream

__all__ = [
    "DecodeRequest",
    "DecoderEnded",
    "Fragments",
    "FrameDecoder",
    "ImageSize",
    "StreamHeader",
    "process_decoder",
    "read_stream",
    "starts_with_item",
]
