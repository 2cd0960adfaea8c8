"""The source images of an analysis: headers for identity, slices with their position in the patient."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from neurotriage.core.errors import Refused
from neurotriage.core.values import (
    ManifestInstance,
    ObjectReference,
    SeriesDecision,
    SeriesManifest,
    StudyManifest,
)
from neurotriage.dicom.headers import read_header
from worker.imaging import Image, read_images

ImagesBySeries = Mapping[str, Sequence[Image]]  # by Series Instance UID


@dataclass(frozen=True, slots=True, eq=False)
class SourceSlice:
    """One source image (an instance, or a frame of one) at its place in a stack."""

    series_instance_uid: str
    stack: int  # 1-based within the series
    number: int  # 1-based along the sorted stack
    count: int  # slices in the stack
    image: Image

    @property
    def path(self) -> Path:
        return self.image.of.path

    @property
    def sop_instance_uid(self) -> str:
        return self.image.of.sop_instance_uid

    @property
    def sop_class_uid(self) -> str:
        return self.image.of.sop_class_uid

    @property
    def header(self) -> Dataset:
        """The instance's header, without pixels."""
        assert self.image.of.header is not None  # noqa: S101 - slices are made of images with headers
        return self.image.of.header

    @property
    def frame(self) -> int | None:
        """1-based; None for a single-frame instance."""
        return self.image.place.frame

    @property
    def position_mm(self) -> NDArray[np.float64]:
        """(3,) centre of the first pixel (PS3.3 C.7.6.2, C.7.6.16.2)."""
        return np.array(self.image.place.position_mm)

    @property
    def row_direction(self) -> NDArray[np.float64]:
        """(3,) of increasing column index."""
        return np.array(self.image.place.orientation[:3])

    @property
    def column_direction(self) -> NDArray[np.float64]:
        """(3,) of increasing row index."""
        return np.array(self.image.place.orientation[3:])

    @property
    def spacing_mm(self) -> tuple[float, float]:
        """Between rows, between columns."""
        return self.image.place.spacing_mm

    @property
    def thickness_mm(self) -> float | None:
        return self.image.place.thickness_mm

    @property
    def key(self) -> tuple[str, int | None]:
        """SOP Instance UID and 1-based frame, which identify the image."""
        return self.sop_instance_uid, self.frame

    @property
    def stack_key(self) -> tuple[str, int]:
        """Series Instance UID and 1-based stack, which identify the stack."""
        return self.series_instance_uid, self.stack

    @property
    def stack_names(self) -> tuple[str, ...]:
        """The stack as parts of a UID: the series, and from the second stack on its number."""
        return (
            (self.series_instance_uid,)
            if self.stack == 1
            else (self.series_instance_uid, f"stack {self.stack}")
        )

    @property
    def reference(self) -> ObjectReference:
        """A reference to the instance."""
        return ObjectReference(self.sop_class_uid, self.sop_instance_uid, self.series_instance_uid)

    @property
    def modality(self) -> str:
        return str(self.header.get("Modality", ""))


def identity_header(
    source: StudyManifest, preferred: Sequence[str], images: ImagesBySeries = MappingProxyType({})
) -> Dataset:
    """The header from which patient and study attributes are copied, without pixels.

    That of the first readable instance, in the ``preferred`` series (Series Instance UIDs) first; empty where
    no file of the study can be read. ``images``: those that were read before.
    """
    rank = {uid: position for position, uid in enumerate(preferred)}
    ordered = sorted(source.series, key=lambda s: rank.get(s.series_instance_uid, len(rank)))
    for series in ordered:
        known = {image.of.path: image.of.header for image in images.get(series.series_instance_uid, ())}
        for instance in series.instances:
            header = known.get(instance.path) or _header(instance)
            if header is not None:
                return header
    return Dataset()


def analysed_slices(
    series: SeriesManifest,
    decisions: Sequence[SeriesDecision],
    images: Sequence[Image] = (),
) -> tuple[SourceSlice, ...]:
    """The analysed images of a series, stack by stack, in the order of the volume's slices.

    If no decision lists its slices: all images of the series with a position in the patient, ascending along
    the slice normal. Images that can no longer be read are left out. ``images``: those of the series if they
    were read before and their headers kept; else they are read here.
    """
    placed = _placed(series, images)
    if not any(decision.slices for decision in decisions):
        ordered = sorted(placed.values(), key=lambda i: (i.place.offset_mm, i.of.sop_instance_uid))
        return _stack(series, 1, ordered)
    stacks: list[SourceSlice] = []
    for decision in decisions:
        keys = [(source.sop_instance_uid, source.frame) for source in decision.slices]
        stacks += _stack(series, decision.stack, [placed[key] for key in keys if key in placed])
    return tuple(stacks)


def _placed(series: SeriesManifest, images: Sequence[Image]) -> dict[tuple[str, int | None], Image]:
    """Every image of a series with a position in the patient, by SOP Instance UID and 1-based frame."""
    with_geometry = _with_geometry(images)
    if not with_geometry or any(image.of.header is None for image in with_geometry):
        read = read_images(series, max_headers=None)
        with_geometry = _with_geometry(read)
    return {image.key: image for image in reversed(with_geometry)}  # of equal UIDs the first counts


def _with_geometry(images: Sequence[Image]) -> list[Image]:
    return [image for image in images if image.geometry is not None and image.problem is None]


def _stack(series: SeriesManifest, stack: int, ordered: Sequence[Image]) -> tuple[SourceSlice, ...]:
    return tuple(
        SourceSlice(series.series_instance_uid, stack, number, len(ordered), image)
        for number, image in enumerate(ordered, start=1)
    )


def _header(instance: ManifestInstance) -> Dataset | None:
    """The header of one instance, or None where it cannot be read, which selection has recorded."""
    try:
        return read_header(instance.path)
    except Refused:
        return None
