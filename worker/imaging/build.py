"""A series' instances to one volume in true units."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

import numpy as np
from pydicom.dataset import Dataset

from neurotriage.core.errors import Refused
from neurotriage.core.headers import read_header, text
from neurotriage.core.values import Reason, ReasonCode, SeriesManifest, SliceSource
from neurotriage.core.volume import Volume, Voxels
from neurotriage.core.wording import counted
from worker.imaging.attributes import whole_number
from worker.imaging.geometry import FrameGeometry, frames_of, plane_of
from worker.imaging.sequence import guess_sequence
from worker.imaging.slices import MAX_VOXELS, Slices, read_slices, thinned, thinned_out
from worker.imaging.stack import (
    interior_gaps,
    largest_group,
    sorted_along_normal,
    steps_mm,
    without_duplicates,
)
from worker.imaging.units import calibration, uncalibrated


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A frame (or, with frame None, an instance) that did not go into the volume, and why."""

    sop_instance_uid: str
    frame: int | None
    reason: Reason


@dataclass(frozen=True, slots=True, eq=False)
class BuiltVolume:
    """A volume with what was found out while building it."""

    volume: Volume
    left_out: tuple[LeftOut, ...]
    missing: Reason | None  # MISSING_IMAGES where the stack has evident holes


def build_volume(series: SeriesManifest, most_voxels: int = MAX_VOXELS) -> BuiltVolume:
    """Read, sort and decode a series: single-frame or Enhanced multi-frame, CT or MR.

    Slices are sorted along their normal by ImagePositionPatient; uneven steps and gantry tilt stay as they
    are. Of two orientations, matrices or echoes the largest consistent group is taken, of two frames at one
    place the first. Of more than ``most_voxels`` evenly spread slices are read. Raises ``Refused``:
    NO_GEOMETRY, NO_CALIBRATION (CT), UNREADABLE_PIXELS.
    """
    headers, left_out = _headers(series)
    frames = [frame for _, own in headers for frame in own]
    if not frames:
        raise Refused(left_out[0].reason.code, left_out[0].reason.text)
    group = largest_group(frames)
    ordered = without_duplicates(sorted_along_normal(group))
    first = next(dataset for dataset, own in headers if ordered[0] in own)
    in_stack = set(ordered)
    _require_calibration(dataset for dataset, own in headers if not in_stack.isdisjoint(own))
    left_out += _turned_away(frames, group, ordered)
    voxels, kept, broken, no_room = _decoded(ordered, most_voxels)
    volume = _assembled(series, first, voxels, kept)
    missing = _stated_count(series, first) or _gaps(kept, broken)
    return BuiltVolume(volume, tuple(left_out + broken + no_room), missing)


def _headers(
    series: SeriesManifest,
) -> tuple[list[tuple[Dataset, tuple[FrameGeometry, ...]]], list[LeftOut]]:
    headers: list[tuple[Dataset, tuple[FrameGeometry, ...]]] = []
    left_out: list[LeftOut] = []
    for instance in series.instances:
        try:
            dataset = read_header(instance.path)
            headers.append((dataset, frames_of(dataset, instance.path)))
        except Refused as refused:
            left_out.append(LeftOut(instance.sop_instance_uid, None, refused.reason))
    return headers, left_out


def _require_calibration(datasets: Iterable[Dataset]) -> None:
    for dataset in datasets:
        if text(dataset, "Modality").upper() == "CT" and calibration(dataset) is None:
            raise Refused(ReasonCode.NO_CALIBRATION, f"a CT without HU: {uncalibrated(dataset)}")


def _turned_away(
    frames: list[FrameGeometry], group: list[FrameGeometry], ordered: list[FrameGeometry]
) -> list[LeftOut]:
    other = Reason(
        ReasonCode.INCONSISTENT_GEOMETRY,
        "another orientation, matrix, pixel size, component or echo than most of the series",
    )
    double = Reason(ReasonCode.LOWER_RANK, "another image of the same place came first")
    in_group, in_stack = set(group), set(ordered)
    return [
        LeftOut(frame.sop_instance_uid, frame.frame, double if frame in in_group else other)
        for frame in frames
        if frame not in in_stack
    ]


def _decoded(
    ordered: list[FrameGeometry], most_voxels: int
) -> tuple[Slices, list[FrameGeometry], list[LeftOut], list[LeftOut]]:
    """The frames that decode as voxels and by name, those that do not, those for which there is no room."""
    taken, between = thinned(ordered, most_voxels)
    read, refused = read_slices(taken)
    broken = [LeftOut(f.sop_instance_uid, f.frame, refused[f]) for f in taken if f in refused]
    if not read:
        raise Refused(broken[0].reason.code, broken[0].reason.text)
    reason = thinned_out(len(taken), len(ordered))
    no_room = [LeftOut(frame.sop_instance_uid, frame.frame, reason) for frame in between]
    kept = [frame for frame in taken if frame in read]
    return Slices([read[frame] for frame in kept]), kept, broken, no_room


def _assembled(series: SeriesManifest, header: Dataset, voxels: Voxels, kept: list[FrameGeometry]) -> Volume:
    first = kept[0]
    return Volume(
        series_instance_uid=series.series_instance_uid,
        modality=text(header, "Modality").upper(),
        description=text(header, "SeriesDescription"),
        voxels=voxels,
        row_direction=np.array(first.orientation[:3]),
        column_direction=np.array(first.orientation[3:]),
        pixel_spacing_mm=first.spacing_mm,
        positions_mm=np.array([frame.position_mm for frame in kept]),
        thickness_mm=_thickness_mm(kept),
        plane=plane_of(first.normal),
        sources=tuple(SliceSource(f.sop_instance_uid, f.frame, f.instance_number) for f in kept),
        frame_of_reference_uid=text(header, "FrameOfReferenceUID") or None,
        sequence=guess_sequence(header),
    )


def _thickness_mm(kept: list[FrameGeometry]) -> float:
    """The usual slice thickness; where it is unsaid, the usual step; for one slice, the pixel size."""
    stated = [frame.thickness_mm for frame in kept if frame.thickness_mm is not None]
    return median(stated or steps_mm(kept) or kept[0].spacing_mm)


def _stated_count(series: SeriesManifest, header: Dataset) -> Reason | None:
    """The archive's own count. ImagesInAcquisition is no such count: an acquisition may fill many series."""
    stated = whole_number(header, "NumberOfSeriesRelatedInstances") or 0
    if stated <= len(series.instances):
        return None
    here = len(series.instances)
    sentence = f"the series states {stated} images, {here} {'is' if here == 1 else 'are'} here"
    return Reason(ReasonCode.MISSING_IMAGES, sentence)


def _gaps(kept: list[FrameGeometry], broken: list[LeftOut]) -> Reason | None:
    gaps = interior_gaps(kept)
    if not gaps:
        return None
    count = sum(gap.missing for gap in gaps)
    where = f"after image {kept[gaps[0].before].instance_number or gaps[0].before + 1}"
    cause = f"; {counted(len(broken), 'image')} could not be decoded" if broken else ""
    lost = f"{count} of {len(kept) + count} slices {'is' if count == 1 else 'are'} missing from the stack"
    sentence = f"{lost}, the first {where}{cause}"
    return Reason(ReasonCode.MISSING_IMAGES, sentence)
