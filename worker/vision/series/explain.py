"""Grad-CAM of the slices that matter, on the grid of the stored images.

The maps themselves come with the forward pass in closed form (``network.grad_cam``); here they are chosen,
brought onto the source grid and given a scale that means the same on every slice of every study: a slice's
hottest point has the probability of the slice with its neighbours, so none is hotter than its series'
probability. A slice that the study rule calls unsuspicious has no marks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurotriage.core.evidence import Evidence, SliceEvidence
from neurotriage.core.values import Finding
from neurotriage.core.volume import Volume
from worker.vision.series.predict import SlicePredictions

MAX_KEPT = 25  # slices of one study; nobody leafs through more


@dataclass(frozen=True, slots=True, eq=False)
class KeptSlices:
    """The slices of one series that are kept."""

    volume: Volume
    predictions: SlicePredictions
    rows: tuple[int, ...]  # of the n slices of the predictions
    lesions: NDArray[np.float32]  # (n, h, w) maps of the lesions that the findings outline, else 0
    level: float  # from which a pixel of these is lesion
    smoothed: NDArray[np.float64]  # (n,) tumour scores of the slices with their neighbours
    suspicious: NDArray[np.bool_]  # (n,) where that score reaches the rule's lower threshold


def build_evidence(series: Sequence[KeptSlices], key: tuple[str, int | None] | None) -> Evidence:
    """Heat maps and masks of the kept slices; ``key``: SOP Instance UID and frame of the deciding one."""
    slices = tuple(evidence for one in series for evidence in _slices_of(one))
    places = [(item.sop_instance_uid, item.frame) for item in slices]
    return Evidence(slices, places.index(key) if key in places else None)


def _slices_of(shown: KeptSlices) -> list[SliceEvidence]:
    predictions, rows = shown.predictions, list(shown.rows)
    suspicious = shown.suspicious[rows]
    heat = weighted_heat(
        predictions.grid.on_source(predictions.heat[rows]), shown.smoothed[rows] * suspicious
    )
    masks = (predictions.grid.on_source(shown.lesions[rows]) > shown.level) & suspicious[:, None, None]
    items = []
    for position, row in enumerate(rows):
        index = int(predictions.indices[row])
        source = shown.volume.sources[index]
        items.append(
            SliceEvidence(
                series_instance_uid=shown.volume.series_instance_uid,
                sop_instance_uid=source.sop_instance_uid,
                frame=source.frame,
                slice_index=index,
                probability=float(predictions.tumour[row]),
                heat=heat[position],
                mask=masks[position],
            )
        )
    return items


def weighted_heat(heat: NDArray[np.float32], probability: NDArray[np.float64]) -> NDArray[np.float16]:
    """Heat (n, h, w) on the scale of the probabilities (n,): the hottest point of each slice has its own."""
    hottest = heat.max((1, 2), initial=0.0)
    scale = np.divide(probability, hottest, out=np.zeros(len(heat)), where=hottest > 0)
    weighted: NDArray[np.float16] = (heat * scale[:, None, None].astype(np.float32)).astype(np.float16)
    return weighted


def rows_to_show(
    predictions: SlicePredictions,
    smoothed: NDArray[np.float64],
    findings: Sequence[Finding],
    suspicious: NDArray[np.bool_],
    most: int,
) -> tuple[int, ...]:
    """Which of the n slices of a series are kept: those with findings and their suspicious neighbours.

    Without findings: all suspicious ones. Always the one of the highest score, though nothing may be marked
    on it. Of more than ``most`` the key slice, then the most probable ones with a finding stay.
    """
    count, key = len(predictions.indices), key_row(predictions, smoothed, findings)
    marked = _has_finding(predictions, findings)
    around = marked if findings else suspicious
    near = {int(row) + step for row in np.flatnonzero(around) for step in (-1, 0, 1)} & set(range(count))
    wanted = {row for row in near if suspicious[row]} | {key}
    best = sorted(wanted, key=lambda row: (row != key, not marked[row], -predictions.tumour[row]))
    return tuple(sorted(best[:most]))


def key_row(predictions: SlicePredictions, smoothed: NDArray[np.float64], findings: Sequence[Finding]) -> int:
    """The slice of the highest score; with findings, among the slices that have one."""
    if not findings:
        return int(smoothed.argmax())
    return int(np.where(_has_finding(predictions, findings), smoothed, -1.0).argmax())


def _has_finding(predictions: SlicePredictions, findings: Sequence[Finding]) -> NDArray[np.bool_]:
    return np.isin(predictions.indices, [finding.slice_index for finding in findings])


def hot_region(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """Heat (n, h, w) as share of its hottest point, to stand in for a lesion map; all 0 where it is cold."""
    hottest = float(heat.max(initial=0.0))
    result: NDArray[np.float32] = heat / hottest if hottest > 0 else np.zeros_like(heat)
    return result
