"""Slices of one patient in the manifest as a ``Volume``: more series to choose thresholds on.

Of each patient and sequence come two series: all slices (a tumour where one of them shows it), and the
tumour-free slices of a tumour patient alone, which tell whether it is the lesion that the network sees.
The manifest has no distances: the numbers that end the file names are taken for places along a usual head, in
a usual field of view.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from neurotriage.core.values import Plane, SliceSource
from neurotriage.core.volume import Volume
from training.data.manifest import Row, grey_images
from worker.vision.slices.display import VIEWS

SOURCES = ("lgg", "btp", "figshare", "nichart")  # whose groups or series are slices of one person
HEAD_MM = 150.0  # from the first to the last number of a whole stack
LARGEST_STEP_MM = 6.0
FIELD_OF_VIEW_MM = 220.0
MIN_SLICES = 3  # fewer are no run

Slice = tuple[int, bool, NDArray[np.uint8]]  # its number, with a tumour or not, the grey image


def series_of(rows: Sequence[Row]) -> Iterator[tuple[str, bool, Volume]]:
    """Name, whether there is a tumour, and the volume, of each series of MIN_SLICES or more slices.

    Raises AttributeError where the name of a file of ``SOURCES`` does not end in a number.
    """
    stacks: dict[tuple[str, str, str], list[Slice]] = defaultdict(list)
    for row in rows:
        if row.source in SOURCES and row.tumour is not None:
            scan, number = re.fullmatch(r"(.*?)(\d+)", row.path.stem).groups()  # type: ignore[union-attr]
            for sequence, grey in grey_images(row):
                stacks[f"{row.series} {scan}", row.plane, sequence].append((int(number), row.tumour, grey))
    for (name, plane, sequence), stack in stacks.items():
        slices = sorted(stack, key=lambda numbered: numbered[0])
        step_mm = min(LARGEST_STEP_MM, HEAD_MM / max(slices[-1][0] - slices[0][0], 1))
        tumour = any(positive for _, positive, _ in slices)
        free = [numbered for numbered in slices if not numbered[1]]
        for positive, chosen in ((True, slices), (False, free)) if tumour else ((False, slices),):
            if len(chosen) >= MIN_SLICES:
                yield f"{name} {sequence}", positive, _volume(chosen, step_mm, Plane(plane), sequence)


def _volume(slices: Sequence[Slice], step_mm: float, plane: Plane, sequence: str) -> Volume:
    numbers = np.array([number for number, _, _ in slices])
    rows = max(grey.shape[0] for _, _, grey in slices)
    columns = max(grey.shape[1] for _, _, grey in slices)
    voxels = np.zeros((len(slices), rows, columns), np.float32)
    for index, (_, _, grey) in enumerate(slices):
        voxels[index, : grey.shape[0], : grey.shape[1]] = grey
    across, down = VIEWS[plane]
    spacing_mm = FIELD_OF_VIEW_MM / max(rows, columns)
    return Volume(
        series_instance_uid="",
        modality="MR",
        description=sequence,
        voxels=voxels,
        row_direction=across,
        column_direction=down,
        pixel_spacing_mm=(spacing_mm, spacing_mm),
        positions_mm=np.cross(across, down) * step_mm * (numbers - numbers[0])[:, None],
        thickness_mm=step_mm,
        plane=plane,
        sources=tuple(SliceSource(str(index), None, index + 1) for index in range(len(slices))),
        sequence=sequence,
    )
