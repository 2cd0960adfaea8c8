"""What the report outlines: findings on some of their slices, or else the analysed head.

Points are (column, row) in pixels; pixel edges are whole numbers and (0, 0) is the corner of the first pixel,
in DICOM as in ``Finding`` (PS3.3 C.18.6.1.1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise, zip_longest

import numpy as np
from numpy.typing import NDArray

from neurotriage.core.values import Analysis, Finding
from worker.results.sources.display import head_mask
from worker.results.sources.scene import Scene
from worker.results.sources.slices import SourceSlice

# Each costs about 8 kB and 30 ms here and a drawing in the viewer; the overlays show every slice.
MAX_OUTLINES = 8
HEAD_POINTS = 32  # of the frame around the head; with four or five a viewer takes it for a rectangle tool
HEAD_MARGIN = 1.04  # the frame's size relative to the head's bounding box
EDGE_SHARE = 0.02  # of the picture's width that the frame stays away from its edges
RIGHT_EDGE_SHARE = 0.12  # on the right, where a viewer writes the numbers


@dataclass(frozen=True, slots=True, eq=False)
class OutlinedFinding:
    """A finding as it is drawn on its image."""

    place: int  # in the analysis' findings
    finding: Finding
    image: SourceSlice
    line: NDArray[np.float64]  # (n, 2) columns and rows, first = last

    @property
    def area_px(self) -> float:
        """By the shoelace formula."""
        x, y = self.line.T
        return float(abs(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1])) / 2)


def outlined_findings(analysis: Analysis, scene: Scene) -> tuple[OutlinedFinding, ...]:
    """The findings that can be drawn."""
    found = []
    for place, finding in enumerate(analysis.findings):
        image = scene.find(finding.sop_instance_uid, finding.frame)
        if image is None:
            continue
        line = closed_outline(finding.outline, image.header.Rows, image.header.Columns)
        if line is not None:
            found.append(OutlinedFinding(place, finding, image, line))
    return tuple(found)


def most_telling(outlined: Sequence[OutlinedFinding]) -> tuple[OutlinedFinding, ...]:
    """At most ``MAX_OUTLINES`` of them, in the same order.

    Of each lesion first the largest slice, then the most probable, the first and the last one, then others by
    size. Lesions take turns, the largest first.
    """
    lesions: dict[tuple[int, str], list[OutlinedFinding]] = {}
    for one in outlined:
        lesions.setdefault((one.finding.lesion, one.finding.series_uid), []).append(one)
    ranked = [_ranked(lesions[key]) for key in sorted(lesions, key=lambda key: key[0])]
    turns = (one for turn in zip_longest(*ranked) for one in turn if one is not None)
    kept = {one.place for one in islice(turns, MAX_OUTLINES)}
    return tuple(one for one in outlined if one.place in kept)


def _ranked(slices: Sequence[OutlinedFinding]) -> list[OutlinedFinding]:
    """The slices of one lesion, those that say most about it first."""
    by_size = sorted(slices, key=lambda one: -one.area_px)
    along = sorted(slices, key=lambda one: one.image.number)
    surest = max(by_size, key=lambda one: one.finding.probability)
    return list(dict.fromkeys((by_size[0], surest, along[0], along[-1], *by_size)))


def head_frame(pixels: NDArray[np.float32], modality: str) -> NDArray[np.float64]:
    """A closed ellipse around the head, (33, 2) columns and rows, inside the picture."""
    rows, columns = pixels.shape
    places = np.argwhere(head_mask(pixels, modality))
    if len(places) == 0:
        places = np.array([(0, 0), (rows - 1, columns - 1)])
    top, left = places.min(axis=0)
    bottom, right = places.max(axis=0) + 1
    angles = np.linspace(0, 2 * np.pi, HEAD_POINTS + 1)
    x = (left + right) / 2 + HEAD_MARGIN * (right - left) / 2 * np.cos(angles)
    y = (top + bottom) / 2 + HEAD_MARGIN * (bottom - top) / 2 * np.sin(angles)
    x = np.clip(x, EDGE_SHARE * columns, (1 - RIGHT_EDGE_SHARE) * columns)
    y = np.clip(y, EDGE_SHARE * rows, (1 - EDGE_SHARE) * rows)
    line = np.round(np.stack([x, y], axis=1), 2)
    line[-1] = line[0]
    return line


def closed_outline(
    outline: Sequence[tuple[float, float]], rows: int, columns: int
) -> NDArray[np.float64] | None:
    """A finding's outline as a closed line (n, 2) inside the image, or None if it has no area to show."""
    points = [
        (round(min(max(x, 0.0), float(columns)), 2), round(min(max(y, 0.0), float(rows)), 2))
        for x, y in outline
    ]
    if not points:
        return None
    line = [points[0], *(later for earlier, later in pairwise(points) if later != earlier)]
    if line[-1] != line[0]:
        line.append(line[0])
    return np.array(line, dtype=np.float64) if len(line) >= 4 else None
