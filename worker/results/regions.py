"""Regions of the report: outlines of findings on some of their slices, or else a frame around the head.

Points are (column, row) in pixels. Pixel edges lie on whole numbers and (0, 0) is the top left corner of the
first pixel, in DICOM as in ``Finding`` (PS3.3 C.18.6.1.1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise, zip_longest

import numpy as np
from numpy.typing import NDArray

from neurotriage.core.values import Analysis, Finding
from worker.imaging.head import head_mask
from worker.results.sources.scene import Scene
from worker.results.sources.slices import SourceSlice

# Each outline costs about 8 kB and 30 ms, and a drawing in the viewer; the overlays show every slice.
MAX_OUTLINES = 8
HEAD_POINTS = 32  # of the frame around the head; a viewer takes four or five points for a rectangle tool
HEAD_MARGIN = 1.04  # the frame's size relative to the head's bounding box
EDGE_SHARE = 0.02  # distance of the frame from the image's edges, as a share of its width
RIGHT_EDGE_SHARE = 0.12  # the same on the right, where a viewer writes the measurements


@dataclass(frozen=True, slots=True, eq=False)
class OutlinedFinding:
    """A finding with its outline on its image."""

    index: int  # of the finding in ``Analysis.findings``
    finding: Finding
    image: SourceSlice
    line: NDArray[np.float64]  # (n, 2) columns and rows in pixels; closed: first point = last point

    @property
    def area_px(self) -> float:
        """The enclosed area in pixels, by the shoelace formula."""
        x, y = self.line.T
        return float(abs(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1])) / 2)


def outlined_findings(analysis: Analysis, scene: Scene) -> tuple[OutlinedFinding, ...]:
    """The findings whose image can be read and whose outline encloses an area, in the analysis' order."""
    outlined = []
    for index, finding in enumerate(analysis.findings):
        image = scene.find(finding.sop_instance_uid, finding.frame)
        if image is None:
            continue
        line = closed_outline(finding.outline, image.header.Rows, image.header.Columns)
        if line is not None:
            outlined.append(OutlinedFinding(index, finding, image, line))
    return tuple(outlined)


def most_telling(outlined: Sequence[OutlinedFinding]) -> tuple[OutlinedFinding, ...]:
    """At most ``MAX_OUTLINES`` of the outlined findings, in the same order.

    Lesions take turns, the largest first. Each contributes the slice of its largest area, then its most
    probable, its first and its last slice, then the others by area.
    """
    lesions: dict[tuple[int, str], list[OutlinedFinding]] = {}
    for item in outlined:
        lesions.setdefault((item.finding.lesion, item.finding.series_instance_uid), []).append(item)
    ranked = [_ranked(lesions[key]) for key in sorted(lesions, key=lambda key: key[0])]
    turns = (item for turn in zip_longest(*ranked) for item in turn if item is not None)
    kept = {item.index for item in islice(turns, MAX_OUTLINES)}
    return tuple(item for item in outlined if item.index in kept)


def _ranked(slices: Sequence[OutlinedFinding]) -> list[OutlinedFinding]:
    """The slices of one lesion in the order in which they are drawn."""
    by_area = sorted(slices, key=lambda item: -item.area_px)
    along = sorted(slices, key=lambda item: item.image.number)
    most_probable = max(by_area, key=lambda item: item.finding.probability)
    return list(dict.fromkeys((by_area[0], most_probable, along[0], along[-1], *by_area)))


def head_frame(pixels: NDArray[np.float32], modality: str) -> NDArray[np.float64]:
    """A closed ellipse around the head of a slice (rows, columns): (33, 2) columns and rows in pixels.

    It lies inside the image; where no head is found, it frames the whole image.
    """
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
    """An outline of (column, row) in pixels as a closed line (n, 2) inside the image.

    None where fewer than three distinct points remain, which enclose no area.
    """
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
