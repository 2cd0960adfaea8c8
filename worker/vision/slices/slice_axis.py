"""Along the slice axis: positions of slices, the length each stands for, and smoothing by distance."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from neurotriage.core.volume import Volume

NEAR_PARALLEL_DEG = 30.0  # the largest tilt of a gantry
EDGE = 1e-4  # probabilities are clipped to EDGE..1 - EDGE before they become logits


def slice_positions_mm(volume: Volume) -> NDArray[np.float64]:
    """(slices,) position of each slice along the slice normal (row direction x column direction)."""
    normal = np.cross(volume.row_direction, volume.column_direction)
    result: NDArray[np.float64] = volume.positions_mm @ normal
    return result


def slice_steps_mm(along_mm: NDArray[np.float64], thickness_mm: float) -> NDArray[np.float64]:
    """(n,) length of the slice axis that each slice stands for: half way to its neighbours on either side.

    ``along_mm`` (n,): positions in order; a single slice stands for ``thickness_mm``.
    """
    if len(along_mm) < 2:
        return np.full(len(along_mm), thickness_mm)
    gaps = np.abs(np.diff(along_mm))
    return np.asarray((np.append(gaps, gaps[-1]) + np.append(gaps[0], gaps)) / 2)


def coverage_by_series_mm(volumes: Sequence[Volume]) -> dict[str, float]:
    """By Series Instance UID: the length that its stacks cover together along the normal of the first.

    Where two overlap, the overlap counts once. Stacks at more than ``NEAR_PARALLEL_DEG`` to the first add
    nothing.
    """
    result: dict[str, float] = {}
    for uid in dict.fromkeys(volume.series_instance_uid for volume in volumes):
        own = sorted((v for v in volumes if v.series_instance_uid == uid), key=lambda volume: volume.stack)
        normal = np.cross(own[0].row_direction, own[0].column_direction)
        parts: list[tuple[float, float]] = []
        for volume in own:
            cosine = float(normal @ np.cross(volume.row_direction, volume.column_direction))
            if abs(cosine) >= np.cos(np.deg2rad(NEAR_PARALLEL_DEG)):
                steps_mm = slice_steps_mm(slice_positions_mm(volume), volume.thickness_mm)
                middles_mm = _middles_mm(volume) @ normal
                parts += zip(middles_mm - steps_mm / 2, middles_mm + steps_mm / 2, strict=True)
        result[uid] = _union_mm(parts)
    return result


def _middles_mm(volume: Volume) -> NDArray[np.float64]:
    """(slices, 3) patient coordinates of the middle of each slice."""
    _, rows, columns = volume.voxels.shape
    row_mm, column_mm = volume.pixel_spacing_mm
    to_middle = (
        volume.row_direction * column_mm * (columns - 1) / 2
        + volume.column_direction * row_mm * (rows - 1) / 2
    )
    result: NDArray[np.float64] = volume.positions_mm + to_middle
    return result


def _union_mm(parts: Sequence[tuple[float, float]]) -> float:
    total, reached = 0.0, -np.inf
    for begin, end in sorted(parts):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return float(total)


def smooth(
    values: NDArray[np.float64], along_mm: NDArray[np.float64], deviation_mm: float
) -> NDArray[np.float64]:
    """Values (n,) smoothed by a Gaussian over true distance, so that thin and thick slices are judged alike.

    ``along_mm`` (n,): positions; ``deviation_mm``: standard deviation of the Gaussian.
    """
    result: NDArray[np.float64] = _kernel(along_mm, deviation_mm) @ values
    return result


def smooth_maps(
    maps: NDArray[np.float32], along_mm: NDArray[np.float64], deviation_mm: float
) -> NDArray[np.float32]:
    """As ``smooth``, of probability maps (n, h, w), as logits: neighbours that firmly deny it prevail."""
    if len(maps) == 0:
        return maps
    flat = logit(np.clip(maps.reshape(len(maps), -1), EDGE, 1 - EDGE))
    result: NDArray[np.float32] = expit(_kernel(along_mm, deviation_mm) @ flat).astype(np.float32)
    return result.reshape(maps.shape)


def _kernel(along_mm: NDArray[np.float64], deviation_mm: float) -> NDArray[np.float64]:
    """(n, n) weights of all slices (columns) in each smoothed one (rows); rows sum to 1."""
    distance = along_mm[:, None] - along_mm[None, :]
    weights: NDArray[np.float64] = np.exp(-0.5 * (distance / deviation_mm) ** 2)
    result: NDArray[np.float64] = weights / weights.sum(1, keepdims=True)
    return result
