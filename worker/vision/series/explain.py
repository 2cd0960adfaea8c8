"""Grad-CAM and lesion masks of the slices that matter, on the grid of the stored images.

The forward pass gives the Grad-CAM maps in closed form (``network.grad_cam``). Here slices are chosen, and
their maps brought onto the stored grid and onto one scale for all studies: the highest value on a slice is
the slice's smoothed probability, so none exceeds the probability of the series. Slices below the study
rule's lower threshold have no marks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurotriage.core.evidence import Evidence, SliceEvidence
from neurotriage.core.values import Finding
from neurotriage.core.volume import Volume
from worker.vision.series.predict import SlicePredictions

MAX_KEPT = 25  # slices of one study; nobody scrolls through more


@dataclass(frozen=True, slots=True, eq=False)
class KeptSlices:
    """One series, and which of its slices are kept as evidence."""

    volume: Volume
    predictions: SlicePredictions
    rows: tuple[int, ...]  # of the n slices of the predictions
    lesion_maps: NDArray[np.float32]  # (n, h, w) over the network's input; 0 outside the lesions
    level: float  # a pixel of these maps above it is lesion
    smoothed: NDArray[np.float64]  # (n,) tumour scores of the slices, smoothed along the slice axis
    suspicious: NDArray[np.bool_]  # (n,) where that score reaches the rule's lower threshold


def build_evidence(series: Sequence[KeptSlices], key: tuple[str, int | None] | None) -> Evidence:
    """Heat maps and masks of the kept slices; ``key``: SOP Instance UID and frame of the key slice."""
    slices = tuple(evidence for kept in series for evidence in _slices_of(kept))
    places = [(item.sop_instance_uid, item.frame) for item in slices]
    return Evidence(slices, places.index(key) if key in places else None)


def _slices_of(kept: KeptSlices) -> list[SliceEvidence]:
    predictions, rows = kept.predictions, list(kept.rows)
    suspicious = kept.suspicious[rows]
    heat = weighted_heat(predictions.grid.on_source(predictions.heat[rows]), kept.smoothed[rows] * suspicious)
    masks = (predictions.grid.on_source(kept.lesion_maps[rows]) > kept.level) & suspicious[:, None, None]
    items = []
    for position, row in enumerate(rows):
        index = int(predictions.indices[row])
        source = kept.volume.sources[index]
        items.append(
            SliceEvidence(
                series_instance_uid=kept.volume.series_instance_uid,
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
    """Heat (n, h, w) scaled so that the highest value on each slice is its probability (n,)."""
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
    """Which of the n slices of a series are kept, ascending; ``most`` at most.

    Those with findings, without findings the suspicious ones; beside them their suspicious neighbours, and
    always the key slice. Where these are too many, the key slice is kept first, then slices with a finding,
    then the most probable ones. ``smoothed`` and ``suspicious`` (n,): as in ``KeptSlices``.
    """
    count, key = len(predictions.indices), key_row(predictions, smoothed, findings)
    with_finding = _has_finding(predictions, findings)
    around = with_finding if findings else suspicious
    near = {int(row) + step for row in np.flatnonzero(around) for step in (-1, 0, 1)} & set(range(count))
    wanted = {row for row in near if suspicious[row]} | {key}
    best = sorted(wanted, key=lambda row: (row != key, not with_finding[row], -predictions.tumour[row]))
    return tuple(sorted(best[:most]))


def key_row(predictions: SlicePredictions, smoothed: NDArray[np.float64], findings: Sequence[Finding]) -> int:
    """Row (0..n-1) of the highest score (n,); with findings, among the slices that have one."""
    if not findings:
        return int(smoothed.argmax())
    return int(np.where(_has_finding(predictions, findings), smoothed, -1.0).argmax())


def _has_finding(predictions: SlicePredictions, findings: Sequence[Finding]) -> NDArray[np.bool_]:
    return np.isin(predictions.indices, [finding.slice_index for finding in findings])


def hot_region(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """Heat (n, h, w) as a share of its highest value, in place of a lesion map; 0 where that is 0."""
    hottest = float(heat.max(initial=0.0))
    result: NDArray[np.float32] = heat / hottest if hottest > 0 else np.zeros_like(heat)
    return result
