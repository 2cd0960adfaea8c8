"""Whole volumes of ``volumes.csv`` as ``Volume``, so that they go through the same door as a study.

Columns: path, modality, sequence, label, tumour, source, group, split (others are not read); paths are
relative to the file's folder. The volumes are NIfTI.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from neurotriage.core.values import Plane, SliceSource
from neurotriage.core.volume import Volume


@dataclass(frozen=True, slots=True)
class VolumeRow:
    """One volume and what is known of it."""

    path: Path
    modality: str
    sequence: str
    tumour: bool | None
    label: str
    source: str
    group: str
    split: str


def read_rows(path: Path) -> Iterator[VolumeRow]:
    """The rows of a volumes file. Raises KeyError where the columns path or modality are missing."""
    with path.open(newline="", encoding="utf-8") as lines:
        for record in csv.DictReader(lines):
            yield VolumeRow(
                path=path.parent / record["path"],
                modality=record["modality"],
                sequence=record.get("sequence") or "unknown",
                tumour={"1": True, "0": False}.get(record.get("tumour") or ""),
                label=record.get("label") or "unknown",
                source=record.get("source") or "unknown",
                group=record.get("group") or record["path"],
                split=record.get("split") or "",
            )


# How an array (left, back, head) becomes slices, rows and columns of each plane's radiological view:
# order of the axes, which of the new axes are turned round, row and column direction (LPS).
_VIEWS = {
    Plane.AXIAL: ((2, 1, 0), (), (1, 0, 0), (0, 1, 0)),
    Plane.CORONAL: ((1, 2, 0), (1,), (1, 0, 0), (0, 0, -1)),
    Plane.SAGITTAL: ((0, 2, 1), (0, 1), (0, 1, 0), (0, 0, -1)),
}


def read_volume(row: VolumeRow, plane: Plane = Plane.AXIAL) -> Volume:
    """A NIfTI file as slices of ``plane``, with its voxels in true units, float32.

    Positions and directions are in patient coordinates (LPS, DICOM PS3.3 C.7.6.2.1.1), the origin is the
    middle of the volume. Raises OSError or nibabel's ImageFileError where the file cannot be read.
    """
    image = nib.as_closest_canonical(nib.load(row.path))  # type: ignore[no-untyped-call]
    right_front_head = np.asarray(image.dataobj, dtype=np.float32)
    patient = right_front_head[::-1, ::-1]  # NIfTI is RAS+, patient coordinates are LPS+
    order, turned, across, down = _VIEWS[plane]
    voxels = np.ascontiguousarray(np.flip(patient.transpose(order), turned))
    step_mm, row_mm, column_mm = (float(image.header.get_zooms()[axis]) for axis in order)
    row_direction, column_direction = np.array(across, float), np.array(down, float)
    normal = np.cross(row_direction, column_direction)
    corner_mm = (
        -(
            row_direction * column_mm * (voxels.shape[2] - 1)
            + column_direction * row_mm * (voxels.shape[1] - 1)
            + normal * step_mm * (voxels.shape[0] - 1)
        )
        / 2
    )
    uid = row.path.name.split(".")[0]
    return Volume(
        series_instance_uid=uid,
        modality=row.modality,
        description=row.sequence,
        voxels=voxels,
        row_direction=row_direction,
        column_direction=column_direction,
        pixel_spacing_mm=(row_mm, column_mm),
        positions_mm=corner_mm + normal * step_mm * np.arange(len(voxels))[:, None],
        thickness_mm=step_mm,
        plane=plane,
        sources=tuple(SliceSource(f"{uid}-{i + 1}", None, i + 1) for i in range(len(voxels))),
        sequence=row.sequence,
    )
