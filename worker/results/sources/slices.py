"""The images behind an analysis: headers for identity, slices with their place in the patient."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from neurotriage.core.errors import Refused
from neurotriage.core.values import (
    ManifestInstance,
    ObjectReference,
    Reason,
    SeriesDecision,
    SeriesManifest,
    StudyManifest,
)
from neurotriage.dicom.headers import read_header
from worker.imaging import FrameGeometry, frames_of


@dataclass(frozen=True, slots=True, eq=False)
class SourceSlice:
    """One stored image (an instance, or a frame of one) with its geometry (PS3.3 C.7.6.2)."""

    path: Path
    series_uid: str
    stack: int  # 1-based within the series
    sop_instance_uid: str
    sop_class_uid: str
    header: Dataset  # of the instance, without pixels
    frame: int | None  # 1-based; None for a single-frame instance
    number: int  # 1-based along the sorted stack
    count: int  # slices in the stack
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
    def stack_key(self) -> tuple[str, int]:
        """What names its stack: Series Instance UID and number of the stack."""
        return self.series_uid, self.stack

    @property
    def stack_names(self) -> tuple[str, ...]:
        """The same as parts of a UID; of the first stack the series alone."""
        return (self.series_uid,) if self.stack == 1 else (self.series_uid, f"stack {self.stack}")

    @property
    def reference(self) -> ObjectReference:
        """Its instance."""
        return ObjectReference(self.sop_class_uid, self.sop_instance_uid, self.series_uid)

    @property
    def modality(self) -> str:
        return str(self.header.get("Modality", ""))


@dataclass(frozen=True, slots=True, eq=False)
class _PlacedImage:
    """An instance, or a frame of one, as read."""

    instance: ManifestInstance
    header: Dataset
    geometry: FrameGeometry


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


def analysed_slices(series: SeriesManifest, decisions: Sequence[SeriesDecision]) -> tuple[SourceSlice, ...]:
    """The images of a series that were analysed, stack by stack, in the order of their volumes.

    Where no decision names its slices: all images of the series that have a place in the patient, sorted
    along the slice normal, ascending.
    """
    images = _images(series)
    if not any(decision.slices for decision in decisions):
        ordered = sorted(images.values(), key=lambda i: (i.geometry.offset_mm, i.instance.sop_instance_uid))
        return _stack(series, 1, ordered)
    stacks: list[SourceSlice] = []
    for decision in decisions:
        keys = [(source.sop_instance_uid, source.frame) for source in decision.slices]
        stacks += _stack(series, decision.stack, [images[key] for key in keys if key in images])
    return tuple(stacks)


def _images(series: SeriesManifest) -> dict[tuple[str, int | None], _PlacedImage]:
    """Every image of a series that has a place in the patient, by SOP Instance UID and frame."""
    images: dict[tuple[str, int | None], _PlacedImage] = {}
    first = {instance.sop_instance_uid: instance for instance in reversed(series.instances)}  # it counts
    for instance in first.values():
        try:
            header = read_header(instance.path)
            frames = frames_of(header, instance.path)
        except Refused:  # what selection and imaging have told
            continue
        for geometry in frames:
            if isinstance(geometry, Reason):
                continue
            images[instance.sop_instance_uid, geometry.frame] = _PlacedImage(instance, header, geometry)
    return images


def _stack(series: SeriesManifest, stack: int, ordered: Sequence[_PlacedImage]) -> tuple[SourceSlice, ...]:
    return tuple(
        SourceSlice(
            path=image.instance.path,
            series_uid=series.series_instance_uid,
            stack=stack,
            sop_instance_uid=image.instance.sop_instance_uid,
            sop_class_uid=image.instance.sop_class_uid,
            header=image.header,
            frame=image.geometry.frame,
            number=number,
            count=len(ordered),
            position_mm=np.array(image.geometry.position_mm),
            row_direction=np.array(image.geometry.orientation[:3]),
            column_direction=np.array(image.geometry.orientation[3:]),
            spacing_mm=image.geometry.spacing_mm,
            thickness_mm=image.geometry.thickness_mm,
        )
        for number, image in enumerate(ordered, start=1)
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
