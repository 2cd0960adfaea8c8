"""The images behind an analysis: headers for identity, slices with their place in the patient."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from neurotriage.core.errors import Refused
from neurotriage.core.headers import read_header
from neurotriage.core.values import ManifestInstance, ObjectReference, SeriesManifest, StudyManifest


@dataclass(frozen=True, slots=True, eq=False)
class SourceSlice:
    """One stored image (an instance, or a frame of one) with its geometry (PS3.3 C.7.6.2)."""

    path: Path
    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    header: Dataset  # of the instance, without pixels
    frame: int | None  # 1-based; None for a single-frame instance
    number: int  # 1-based along the sorted series
    count: int  # slices in the series
    position_mm: NDArray[np.float64]  # (3,) centre of the first pixel
    row_direction: NDArray[np.float64]  # (3,) of increasing column index
    column_direction: NDArray[np.float64]  # (3,) of increasing row index
    spacing_mm: tuple[float, float]  # between rows, between columns
    thickness_mm: float | None

    @property
    def key(self) -> tuple[str, int | None]:
        """What names the image: SOP Instance UID and frame."""
        return self.sop_instance_uid, self.frame

    @property
    def reference(self) -> ObjectReference:
        """Its instance."""
        return ObjectReference(self.sop_class_uid, self.sop_instance_uid, self.series_uid)

    @property
    def modality(self) -> str:
        return str(self.header.get("Modality", ""))


@dataclass(frozen=True, slots=True)
class _Plane:
    position_mm: NDArray[np.float64]
    orientation: NDArray[np.float64]  # (6,)
    spacing_mm: tuple[float, float]
    thickness_mm: float | None


def identity_header(source: StudyManifest, preferred: Sequence[str]) -> Dataset:
    """The header that patient and study attributes are copied from.

    That of the first readable instance, looked for in the ``preferred`` series first; empty where no file
    of the study can be read.
    """
    rank = {uid: place for place, uid in enumerate(preferred)}
    ordered = sorted(source.series, key=lambda s: rank.get(s.series_instance_uid, len(rank)))
    for instance in _instances(ordered):
        header = _header(instance)
        if header is not None:
            return header
    return Dataset()


def series_slices(series: SeriesManifest) -> tuple[SourceSlice, ...]:
    """All images of a series that have a place in the patient, sorted along the slice normal, ascending."""
    found: list[tuple[float, ManifestInstance, Dataset, int | None, _Plane]] = []
    first = {instance.sop_instance_uid: instance for instance in reversed(series.instances)}  # it counts
    for instance in first.values():
        header = _header(instance)
        if header is None:
            continue
        for frame, plane in _planes(header):
            normal = np.cross(plane.orientation[:3], plane.orientation[3:])
            found.append((float(normal @ plane.position_mm), instance, header, frame, plane))
    found.sort(key=lambda item: (item[0], item[1].sop_instance_uid, item[3] or 0))
    return tuple(
        SourceSlice(
            path=instance.path,
            series_uid=series.series_instance_uid,
            sop_instance_uid=instance.sop_instance_uid,
            sop_class_uid=instance.sop_class_uid,
            header=header,
            frame=frame,
            number=number,
            count=len(found),
            position_mm=plane.position_mm,
            row_direction=plane.orientation[:3],
            column_direction=plane.orientation[3:],
            spacing_mm=plane.spacing_mm,
            thickness_mm=plane.thickness_mm,
        )
        for number, (_, instance, header, frame, plane) in enumerate(found, start=1)
    )


def _instances(series: Sequence[SeriesManifest]) -> Iterator[ManifestInstance]:
    for item in series:
        yield from item.instances


def _header(instance: ManifestInstance) -> Dataset | None:
    """The header of one instance, or None for what selection refused because it cannot be read."""
    try:
        return read_header(instance.path)
    except Refused:
        return None


def _planes(header: Dataset) -> Iterator[tuple[int | None, _Plane]]:
    """Frame number and plane of each image in an instance; nothing for images without a place."""
    if "PerFrameFunctionalGroupsSequence" not in header:
        plane = _plane(header, header, header)
        if plane is not None:
            yield None, plane
        return
    shared = (header.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    for frame, own in enumerate(header.PerFrameFunctionalGroupsSequence, start=1):
        plane = _plane(
            _group(own, shared, "PlanePositionSequence"),
            _group(own, shared, "PlaneOrientationSequence"),
            _group(own, shared, "PixelMeasuresSequence"),
        )
        if plane is not None:
            yield frame, plane


def _group(own: Dataset, shared: Dataset, keyword: str) -> Dataset:
    """A functional group's item: the frame's own, else the shared one (PS3.3 C.7.6.16)."""
    items = own.get(keyword) or shared.get(keyword)
    return items[0] if items else Dataset()


def _plane(position: Dataset, orientation: Dataset, measures: Dataset) -> _Plane | None:
    place = _numbers(position.get("ImagePositionPatient"), 3)
    axes = _numbers(orientation.get("ImageOrientationPatient"), 6)
    spacing = _numbers(measures.get("PixelSpacing"), 2)
    if place is None or axes is None or spacing is None:
        return None
    thickness = _numbers([measures.get("SliceThickness")], 1)
    return _Plane(
        place,
        axes,
        (float(spacing[0]), float(spacing[1])),
        None if thickness is None else float(thickness[0]),
    )


def _numbers(values: Any, count: int) -> NDArray[np.float64] | None:
    """The values of an attribute as ``count`` finite numbers, or None."""
    try:
        numbers = np.array([float(value) for value in values], dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and np.isfinite(numbers).all() else None
