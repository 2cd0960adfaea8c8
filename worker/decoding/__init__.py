"""Compressed pixel data to stored values: streams are checked first, then decoded in a child that may die.

Kept apart from ``worker.imaging`` so that the child starts without what it does not need.
"""

from worker.decoding.fragments import Fragments, starts_with_item
from worker.decoding.process import DecoderEnded, FrameDecoder, process_decoder
from worker.decoding.protocol import Question
from worker.decoding.stream import ImageSize, StreamHeader, read_stream

__all__ = [
    "DecoderEnded",
    "Fragments",
    "FrameDecoder",
    "ImageSize",
    "Question",
    "StreamHeader",
    "process_decoder",
    "read_stream",
    "starts_with_item",
]
