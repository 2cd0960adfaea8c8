"""Instances to volumes in true units, and cheap facts about their pixels."""

from worker.imaging.build import BuiltVolume, LeftOut, build_volume
from worker.imaging.geometry import FrameGeometry, frames_of
from worker.imaging.pixels import Pixels, decode_frame, open_pixels
from worker.imaging.quality import PixelFacts, judge_extent, judge_pixels, pixel_facts
from worker.imaging.registration import read_registrations
from worker.imaging.slices import MAX_VOXELS
from worker.imaging.units import calibration

__all__ = [
    "MAX_VOXELS",
    "BuiltVolume",
    "FrameGeometry",
    "LeftOut",
    "PixelFacts",
    "Pixels",
    "build_volume",
    "calibration",
    "decode_frame",
    "frames_of",
    "judge_extent",
    "judge_pixels",
    "open_pixels",
    "pixel_facts",
    "read_registrations",
]
