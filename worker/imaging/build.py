"""A series' images to volumes in true units."""

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
from worker.imaging.gaps import interior_gaps, steps_mm
from worker.imaging.slices import MAX_VOXELS, StoredSlices, read_slices, thinned, thinned_out
from worker.imaging.stacks.image import Image, read_images
from worker.imaging.stacks.plan import LeftOutImage, SeriesPlan, plan

# Slices of a series that are near-parallel to a stack fill its gaps, whatever became of them.
# Frames this near along the normal show the same slice; the thinnest real step is 0.4 mm.
SAME_PLACE_MM: Final = 0.1
_NEAR_PARALLEL: Final = float(np.cos(np.deg2rad(30.0)))


@dataclass(frozen=True, slots=True, eq=False)
class BuiltVolume:
    """A volume with what was found out while building it."""

    volume: Volume
    images: tuple[Image, ...]  # of its slices, in their order
    left_out: tuple[LeftOutImage, ...]  # of the stack, what could not be decoded; of a series, all
    missing: Reason | None  # MISSING_IMAGES where images have not come
    oddities: tuple[str, ...] = ()  # what was wrong with images that were read, with counts


def build_volume(series: SeriesManifest, most_voxels: int = MAX_VOXELS) -> BuiltVolume:
    """The largest stack of a series, whatever its headers say it is. Raises ``Refused``.

    NO_GEOMETRY, NO_CALIBRATION (CT), or why no pixels of it can be read.
    """
    images = read_images(series)
    kept = [image for image in images if (image.problem or image.uncalibrated) is None]
    if not kept:
        raise Refused(*_first_problem(images))
    whole = plan(series.series_instance_uid, kept)
    if not whole.stacks:
        raise Refused(*_reason(whole.left_out[0].reason))
    built = build_stack(whole, 0, images, most_voxels)
    reasons = [(image, image.problem or image.uncalibrated) for image in images]
    turned_away = [LeftOutImage(image, reason) for image, reason in reasons if reason is not None]
    return replace(built, left_out=(*turned_away, *whole.left_out, *built.left_out))


def build_stack(
    whole: SeriesPlan, number: int, came: Sequence[Image], most_voxels: int = MAX_VOXELS
) -> BuiltVolume:
    """One stack (0-based) of a series, sorted along its normal by ImagePositionPatient and decoded.

    Uneven steps and gantry tilt stay as they are. ``came``: all images of the series; those of them that lie
    in a gap of the stack are not missing. Of more than ``most_voxels`` evenly spread slices are read. Raises
    ``Refused`` where none can be decoded, with the first reason.
    """
    voxels, images, left_out, oddities = _decoded(whole.stacks[number], most_voxels)
    volume = _assembled(whole.series_instance_uid, number + 1, voxels, images)
    missing = _stated_count(came) or _gaps([image.place for image in images], came)
    return BuiltVolume(volume, images, tuple(left_out), missing, oddities)


def _first_problem(images: Sequence[Image]) -> tuple[ReasonCode, str]:
    reasons = [image.problem or image.uncalibrated for image in images]
    first = next((reason for reason in reasons if reason is not None), None)
    return _reason(first or Reason(ReasonCode.NO_GEOMETRY, "the series has no image"))


def _reason(reason: Reason) -> tuple[ReasonCode, str]:
    return reason.code, reason.text


def _decoded(
    images: Sequence[Image], most_voxels: int
) -> tuple[StoredSlices, tuple[Image, ...], list[LeftOutImage], tuple[str, ...]]:
    """The images that decode as voxels, those that do not or for which there is no room, and oddities."""
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
    """The usual slice thickness; where it is unsaid, the usual step; for one slice, the pixel size."""
    stated = [frame.thickness_mm for frame in kept if frame.thickness_mm is not None]
    return median(stated or steps_mm(kept) or kept[0].spacing_mm)


def _stated_count(came: Sequence[Image]) -> Reason | None:
    """The archive's own count. ImagesInAcquisition is no such count: an acquisition may fill many series."""
    stated = max((image.of.series_images for image in came), default=0)
    here = len({image.of.sop_instance_uid for image in came})
    if stated <= here:
        return None
    sentence = f"the series states {stated} images, {here} {'is' if here == 1 else 'are'} here"
    return Reason(ReasonCode.MISSING_IMAGES, sentence)


def _gaps(kept: list[FrameGeometry], came: Sequence[Image]) -> Reason | None:
    """Holes of a stack that no image which came fills."""
    normal = kept[0].normal
    offsets = np.array(
        [
            float(np.dot(normal, image.place.position_mm))
            for image in came
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
        return None
    count = sum(missing for _, missing in lost)
    last = kept[lost[0][0]]
    frame = f"frame {last.frame}" if last.frame is not None else ""
    where = f"after {frame or f'image {last.instance_number or lost[0][0] + 1}'}"
    sentence = f"{count} of {len(kept) + count} slices {'is' if count == 1 else 'are'} missing from the stack"
    return Reason(ReasonCode.MISSING_IMAGES, f"{sentence}, the first {where}")
