"""Instances to volumes in true units, and cheap facts about their pixels."""

from neurotriage.dicom.geometry import FrameGeometry, frames_of
from worker.imaging.build import BuiltVolume, build_stack, build_volume
from worker.imaging.pixel_facts import extent, pixel_facts
from worker.imaging.pixels import Pixels, decode_frame, open_pixels
from worker.imaging.registration import read_registrations
from worker.imaging.slices import MAX_VOXELS
from worker.imaging.stacks.coverage import Slab, covered, slab_of_volume
from worker.imaging.stacks.gaps import gap_mm, hidden_mm
from worker.imaging.stacks.image import Image, InstanceFacts, read_images
from worker.imaging.stacks.plan import LeftOutImage, SeriesPlan, plan
from worker.imaging.units import calibration

__all__ = [
    "MAX_VOXELS",
    "BuiltVolume",
    "FrameGeometry",
    "Image",
    "InstanceFacts",
    "LeftOutImage",
    "Pixels",
    "SeriesPlan",
    "Slab",
    "build_stack",
    "build_volume",
    "calibration",
    "covered",
    "decode_frame",
    "extent",
    "frames_of",
    "gap_mm",
    "hidden_mm",
    "open_pixels",
    "pixel_facts",
    "plan",
    "read_images",
    "read_registrations",
    "slab_of_volume",
]
