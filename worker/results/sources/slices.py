"""The source images of an analysis: headers for identity, slices with their position in the patient."""

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
    """One source image (an instance, or a frame of one) with its geometry (PS3.3 C.7.6.2, C.7.6.16.2)."""

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
        """SOP Instance UID and 1-based frame, which identify the image."""
        return self.sop_instance_uid, self.frame

    @property
    def stack_key(self) -> tuple[str, int]:
        """Series Instance UID and 1-based stack, which identify the stack."""
        return self.series_uid, self.stack

    @property
    def stack_names(self) -> tuple[str, ...]:
        """The stack as parts of a UID: the series, and from the second stack on its number."""
        return (self.series_uid,) if self.stack == 1 else (self.series_uid, f"stack {self.stack}")

    @property
    def reference(self) -> ObjectReference:
        """A reference to the instance."""
        return ObjectReference(self.sop_class_uid, self.sop_instance_uid, self.series_uid)

    @property
    def modality(self) -> str:
        return str(self.header.get("Modality", ""))


@dataclass(frozen=True, slots=True, eq=False)
class _PlacedImage:
    """An instance, or a frame of one, that has a position in the patient."""

    instance: ManifestInstance
    header: Dataset
    geometry: FrameGeometry


def identity_header(source: StudyManifest, preferred: Sequence[str]) -> Dataset:
    """The header from which patient and study attributes are copied, without pixels.

    That of the first readable instance, in the ``preferred`` series (Series Instance UIDs) first; empty where
    no file of the study can be read.
    """
    rank = {uid: position for position, uid in enumerate(preferred)}
    ordered = sorted(source.series, key=lambda s: rank.get(s.series_instance_uid, len(rank)))
    for instance in _instances(ordered):
        header = _header(instance)
        if header is not None:
            return header
    return Dataset()


def analysed_slices(series: SeriesManifest, decisions: Sequence[SeriesDecision]) -> tuple[SourceSlice, ...]:
    """The analysed images of a series, stack by stack, in the order of the volume's slices.

    If no decision lists its slices: all images of the series with a position in the patient, ascending along
    the slice normal. Images that can no longer be read are left out.
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
    """Every image of a series with a position in the patient, by SOP Instance UID and 1-based frame."""
    images: dict[tuple[str, int | None], _PlacedImage] = {}
    first = {instance.sop_instance_uid: instance for instance in reversed(series.instances)}
    for instance in first.values():
        try:
            header = read_header(instance.path)
            frames = frames_of(header, instance.path)
        except Refused:  # selection and imaging have recorded the reason
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
    """The header of one instance, or None where it cannot be read, which selection has recorded."""
    try:
        return read_header(instance.path)
    except Refused:
        return None
