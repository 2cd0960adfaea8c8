"""From the images of a series to volumes in true units."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Final

import numpy as np

from neurotriage.core.errors import Refused
from neurotriage.core.values import Reason, ReasonCode, SeriesManifest, SliceSource
from neurotriage.core.volume import Volume, Voxels
from neurotriage.core.wording import counted
from neurotriage.dicom.geometry import FrameGeometry, plane_of
from worker.eligibility import EligibilityRule
from worker.imaging.gaps import interior_gaps, steps_mm
from worker.imaging.slices import MAX_VOXELS, StoredSlices, read_slices, thinned, thinned_out
from worker.imaging.stacks.image import Image, read_images
from worker.imaging.stacks.plan import LeftOutImage, SeriesPlan, plan

# Frames this near along the normal show the same slice; the thinnest real step is 0.4 mm.
SAME_PLACE_MM: Final = 0.1
# Near-parallel images of a series fill the gaps of a stack, whether they are analysed or not.
_NEAR_PARALLEL: Final = float(np.cos(np.deg2rad(30.0)))


@dataclass(frozen=True, slots=True, eq=False)
class BuiltVolume:
    """A volume with what its images lack."""

    volume: Volume
    images: tuple[Image, ...]  # of its slices, in their order
    left_out: tuple[LeftOutImage, ...]  # of ``build_stack``: not decoded or thinned; of ``build_volume``: all
    missing: Reason | None  # MISSING_IMAGES where images were not received
    unplaced: int = 0  # of these, how many the archive's count alone tells of, so that their place is unknown
    oddities: tuple[str, ...] = ()  # defects of images that were decoded nevertheless, with counts


def build_volume(series: SeriesManifest, rule: EligibilityRule, most_voxels: int = MAX_VOXELS) -> BuiltVolume:
    """The largest stack of a series, without the rules of selection; at most ``most_voxels`` voxels.

    Raises ``Refused``: NO_GEOMETRY, NO_CALIBRATION (CT), or the reason for which no pixels can be read.
    """
    images = read_images(series)
    kept = [image for image in images if (image.problem or image.uncalibrated) is None]
    if not kept:
        raise Refused(*_first_problem(images))
    whole = plan(series.series_instance_uid, kept, rule)
    if not whole.stacks:
        raise Refused(*_reason(whole.left_out[0].reason))
    built = build_stack(whole, 0, images, most_voxels)
    reasons = [(image, image.problem or image.uncalibrated) for image in images]
    turned_away = [LeftOutImage(image, reason) for image, reason in reasons if reason is not None]
    return replace(built, left_out=(*turned_away, *whole.left_out, *built.left_out))


def build_stack(
    whole: SeriesPlan, number: int, received: Sequence[Image], most_voxels: int = MAX_VOXELS
) -> BuiltVolume:
    """Decode one stack (``number``, 0-based) of a series; slices ascend along its normal (PS3.3 C.7.6.2).

    Voxels are in HU for CT; uneven steps and gantry tilt are kept. ``received``: all images of the series,
    of which those in a gap of the stack are not missing. Beyond ``most_voxels``, evenly spread slices are
    read. Raises ``Refused`` with the first reason where no slice can be decoded.
    """
    voxels, images, left_out, oddities = _decoded(whole.stacks[number], most_voxels)
    volume = _assembled(whole.series_instance_uid, number + 1, voxels, images)
    gaps, in_gaps = _gaps([image.place for image in images], received)
    stated, of_series = _stated_count(received)
    unplaced = max(0, of_series - in_gaps)
    return BuiltVolume(volume, images, tuple(left_out), stated if unplaced else gaps, unplaced, oddities)


def _first_problem(images: Sequence[Image]) -> tuple[ReasonCode, str]:
    reasons = [image.problem or image.uncalibrated for image in images]
    first = next((reason for reason in reasons if reason is not None), None)
    return _reason(first or Reason(ReasonCode.NO_GEOMETRY, "the series has no image"))


def _reason(reason: Reason) -> tuple[ReasonCode, str]:
    return reason.code, reason.text


def _decoded(
    images: Sequence[Image], most_voxels: int
) -> tuple[StoredSlices, tuple[Image, ...], list[LeftOutImage], tuple[str, ...]]:
    """Voxels and images that decode; images that do not, or that do not fit into memory; oddities."""
    by_place = {image.place: image for image in images}
    taken, between = thinned([image.place for image in images], most_voxels)
    read, refused = read_slices(taken)
    left_out = [LeftOutImage(by_place[place], refused[place]) for place in taken if place in refused]
    if not read:
        raise Refused(left_out[0].reason.code, left_out[0].reason.text)
    reason = thinned_out(len(taken), len(images))
    left_out += [LeftOutImage(by_place[place], reason) for place in between]
    kept = [place for place in taken if place in read]
    odd = Counter(read[place].oddity for place in kept if read[place].oddity)
    oddities = tuple(f"{counted(count, 'image')}: {oddity}" for oddity, count in sorted(odd.items()))
    voxels = StoredSlices([read[place] for place in kept])
    return voxels, tuple(by_place[place] for place in kept), left_out, oddities


def _assembled(series_instance_uid: str, stack: int, voxels: Voxels, images: tuple[Image, ...]) -> Volume:
    kept = [image.place for image in images]
    first, of = kept[0], images[0].of
    return Volume(
        series_instance_uid=series_instance_uid,
        modality=of.modality,
        description=of.texts.get("SeriesDescription", ""),
        voxels=voxels,
        row_direction=np.array(first.orientation[:3]),
        column_direction=np.array(first.orientation[3:]),
        pixel_spacing_mm=first.spacing_mm,
        positions_mm=np.array([place.position_mm for place in kept]),
        thickness_mm=_thickness_mm(kept),
        plane=plane_of(first.normal),
        sources=tuple(SliceSource(f.sop_instance_uid, f.frame, f.instance_number) for f in kept),
        frame_of_reference_uid=of.frame_of_reference_uid,
        sequence=images[0].sequence,
        stack=stack,
    )


def _thickness_mm(kept: list[FrameGeometry]) -> float:
    """The median slice thickness; if it is not stated, the median step; for one slice, the pixel size."""
    stated = [frame.thickness_mm for frame in kept if frame.thickness_mm is not None]
    return median(stated or steps_mm(kept) or kept[0].spacing_mm)


def _stated_count(received: Sequence[Image]) -> tuple[Reason | None, int]:
    """How many instances are missing by the archive's count (0020,1209), which is 0 where it states none.

    ImagesInAcquisition is no such count: it may span several series.
    """
    stated = max((image.of.series_images for image in received), default=0)
    here = len({image.of.sop_instance_uid for image in received})
    if stated <= here:
        return None, 0
    sentence = f"the series states {stated} images, {here} {'is' if here == 1 else 'are'} here"
    return Reason(ReasonCode.MISSING_IMAGES, sentence), stated - here


def _gaps(kept: list[FrameGeometry], received: Sequence[Image]) -> tuple[Reason | None, int]:
    """The gaps of a stack that no received image fills, and how many slices they lack."""
    normal = kept[0].normal
    offsets = np.array(
        [
            float(np.dot(normal, image.place.position_mm))
            for image in received
            if image.geometry is not None and abs(float(np.dot(normal, image.place.normal))) > _NEAR_PARALLEL
        ]
    )
    lost: list[tuple[int, int]] = []  # the slice before, how many are missing
    for gap in interior_gaps(kept):
        before, after = (float(np.dot(normal, kept[gap.before + n].position_mm)) for n in (0, 1))
        inside = offsets[(offsets > before + SAME_PLACE_MM) & (offsets < after - SAME_PLACE_MM)]
        filled = len(np.unique(np.round(inside / SAME_PLACE_MM)))
        if filled < gap.missing:
            lost.append((gap.before, gap.missing - filled))
    if not lost:
        return None, 0
    # Pictures that are here without a place may be the missing ones, and are named for what they lack.
    count = sum(missing for _, missing in lost) - sum(map(_without_place, received))
    if count <= 0:
        return None, 0
    last = kept[lost[0][0]]
    frame = f"frame {last.frame}" if last.frame is not None else ""
    where = f"after {frame or f'image {last.instance_number or lost[0][0] + 1}'}"
    sentence = f"{count} of {len(kept) + count} slices {'is' if count == 1 else 'are'} missing from the stack"
    return Reason(ReasonCode.MISSING_IMAGES, f"{sentence}, the first {where}"), count


def _without_place(image: Image) -> bool:
    """Whether an image may be a slice whose header does not say where."""
    return image.geometry is None and image.of.has_pixels and image.of.modality in ("", "CT", "MR")
