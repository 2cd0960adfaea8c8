"""Volumes with a known content, and a weights folder with a random network, for fast tests."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save as saved_arrays
from safetensors.torch import save as saved_tensors

from neurotriage.core.settings import WorkerSettings
from neurotriage.core.values import Plane, SliceSource
from neurotriage.core.volume import Volume
from worker.eligibility import PART
from worker.vision.feature_reference import FeatureReference
from worker.vision.network import CLASSES_OF, FEATURE_CHANNELS, TOP_CHANNELS, SliceNet
from worker.vision.registry import StudyRule
from worker.vision.registry.rule import RULE_FILE
from worker.vision.series.predict import InputGrid, SlicePredictions
from worker.vision.slices.display import display_of
from worker.vision.slices.preprocess import Box

INPUT_PX = 64
# Directions (row, column) in which each plane may be stored: the view of ``display`` turned and mirrored.
STORED = {
    Plane.AXIAL: ((1, 0, 0), (0, 1, 0)),
    Plane.CORONAL: ((1, 0, 0), (0, 0, -1)),
    Plane.SAGITTAL: ((0, 1, 0), (0, 0, -1)),
}


def turned(plane: Plane) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """All eight ways (row direction, column direction) in which slices of a plane can be stored."""
    across, down = (np.array(direction, float) for direction in STORED[plane])
    ways = [(a * across, b * down) for a in (1, -1) for b in (1, -1)]
    return ways + [(column, row) for row, column in ways]


def volume(
    patient: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    row_direction: NDArray[np.float64],
    column_direction: NDArray[np.float64],
    plane: Plane,
    *,
    shape: tuple[int, int, int] = (12, 80, 96),
    spacing_mm: tuple[float, float] = (2.5, 2.0),
    step_mm: float = 12.0,
    uid: str = "1.2.3",
    modality: str = "MR",
) -> Volume:
    """Sample ``patient`` (function of LPS points (..., 3) in mm) on a stack centred on the origin."""
    slices, rows, columns = shape
    normal = np.cross(row_direction, column_direction)
    corner = (
        -(
            row_direction * spacing_mm[1] * (columns - 1)
            + column_direction * spacing_mm[0] * (rows - 1)
            + normal * step_mm * (slices - 1)
        )
        / 2
    )
    positions = corner + normal * step_mm * np.arange(slices)[:, None]
    points = (
        positions[:, None, None]
        + row_direction * spacing_mm[1] * np.arange(columns)[None, None, :, None]
        + column_direction * spacing_mm[0] * np.arange(rows)[None, :, None, None]
    )
    return Volume(
        series_instance_uid=uid,
        modality=modality,
        description="synthetic",
        voxels=patient(points).astype(np.float32),
        row_direction=row_direction,
        column_direction=column_direction,
        pixel_spacing_mm=spacing_mm,
        positions_mm=positions,
        thickness_mm=step_mm,
        plane=plane,
        sources=tuple(SliceSource(f"{uid}.{i}", None, i + 1) for i in range(slices)),
    )


def ball(centre_mm: tuple[float, float, float], radius_mm: float) -> Callable[..., NDArray[np.float64]]:
    """1 inside a ball, with an edge of 2 mm, 0 outside."""

    def value(points: NDArray[np.float64]) -> NDArray[np.float64]:
        distance = np.linalg.norm(points - np.array(centre_mm), axis=-1)
        inside: NDArray[np.float64] = np.clip((radius_mm - distance) / 2 + 0.5, 0, 1)
        return inside

    return value


def head_with(*lesions: Callable[..., NDArray[np.float64]]) -> Callable[..., NDArray[np.float64]]:
    """A ball of a head with some texture, and lesions three times as bright."""
    head = ball((0, 0, 0), 75)

    def value(points: NDArray[np.float64]) -> NDArray[np.float64]:
        texture = 1 + 0.1 * np.sin(points / 9).sum(-1)
        signal: NDArray[np.float64] = 100 * head(points) * texture
        return signal + 200 * sum(lesion(points) for lesion in lesions)

    return value


def axial_head(**changes: object) -> Volume:
    """A textured ball as an axial series in the usual orientation."""
    return volume(head_with(), *turned(Plane.AXIAL)[0], Plane.AXIAL, **changes)  # type: ignore[arg-type]


def ct_head(*, skull: bool = True, gap: bool = False, **changes: object) -> Volume:
    """A ball of brain (35 HU) in a skull in air as an axial series; with a gap, bone is missing in front."""

    def patient(points: NDArray[np.float64]) -> NDArray[np.float64]:
        radius = np.linalg.norm(points, axis=-1)
        brain = 35 + 4 * np.sin(points / 9).sum(-1)
        shell = np.where(radius < 75, 900.0 if skull else -1000.0, -1000.0)
        if gap:
            shell = np.where((points[..., 1] < -40) & (np.abs(points[..., 0]) < 12), -1000.0, shell)
        hounsfield: NDArray[np.float64] = np.where(radius < 68, brain, shell)
        return hounsfield

    stack = {"shape": (26, 80, 96), "step_mm": 6.0, "modality": "CT", **changes}
    return volume(patient, *turned(Plane.AXIAL)[0], Plane.AXIAL, **stack)  # type: ignore[arg-type]


def ood_limits(limit: float) -> dict[str, float]:
    """The same out-of-distribution limit in each plane."""
    return {f"ood_limit_{plane}": limit for plane in Plane}


def rule(**changes: object) -> StudyRule:
    """A study rule with plain numbers."""
    numbers = {
        "model": "random",
        "model_sha256": "",
        "features_file": "random.features.safetensors",
        "features_sha256": "",
        "head_probability": 0.0,
        **ood_limits(1.0),
        "smoothing_mm": 6.0,
        "blank_section": 0.05,
        "small_section": 0.3,
        "brain_height_mm": 140.0,
        "outer_weight": 0.5,
        "low": 0.3,
        "high": 0.7,
        "certain": 0.95,
        "mimic": 0.6,
        "mask_smoothing_mm": 0.1,
        "mask_level": 0.5,
        "lesion_mm3": 300.0,
        "lesion_slices": 2,
        "lesion_heat": 0.0,
        "heat_level": 0.5,
        "coverage_mm": 80.0,
    }
    return StudyRule(**{**numbers, **changes})  # type: ignore[arg-type]


def predictions(head: NDArray[np.float64]) -> SlicePredictions:
    """What a network says that gives every slice (n,) the same probability of a tumour as of a head."""
    count = len(head)
    grid = InputGrid(display_of(axial_head()), Box(0, 0, 1, 1), (1, 1))
    empty = np.zeros((count, 1, 1), np.float32)
    return SlicePredictions(
        np.arange(count), head, np.zeros((count, 3)), head, empty[:, 0], empty, empty, grid
    )


@cache
def random_weights(seed: int, third_class_bias: float = 0.0) -> bytes:
    """A network's weights as a safetensors file; the bias is for malignant (MR) or tumour (CT)."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    weights = SliceNet().state_dict()
    weights["classes.bias"][2] += third_class_bias
    return saved_tensors(weights)


def reference_features(channels: int) -> FeatureReference:
    """A Gaussian whose first two axes vary by 1 and the rest by 0.1 in all."""
    return FeatureReference(
        weights=np.ones(channels, np.float32),
        mean=np.zeros(channels, np.float32),
        axes=np.eye(2, channels, dtype=np.float16),
        deviations=np.ones(2, np.float32),
        rest=np.array(0.1, np.float32),
        near=np.array(1.4, np.float32),
        far=np.array(2.8, np.float32),
    )


def write_weights(
    folder: Path, seed: int = 0, modality: str = "MR", third_class_bias: float = 0.0, **changes: object
) -> Path:
    """A weights folder whose one model has random weights; ``changes`` go to its study rule."""
    data = random_weights(seed, third_class_bias)
    reference = saved_arrays(asdict(reference_features(FEATURE_CHANNELS + TOP_CHANNELS)))
    (folder / "random.safetensors").write_bytes(data)
    (folder / "random.features.safetensors").write_bytes(reference)
    digest = sha256(data).hexdigest()
    card = {
        "name": "random",
        "version": "0",
        "file": "random.safetensors",
        "sha256": digest,
        "modality": modality,
        "input_px": INPUT_PX,
        "temperature": 1.0,
        "thresholds": {},
        "classes": list(CLASSES_OF[modality]),
    }
    study_rule = rule(**{"model_sha256": digest, "features_sha256": sha256(reference).hexdigest(), **changes})
    (folder / "registry.json").write_text(json.dumps({"models": [card]}))
    write_rules(folder, {"rules": {modality: asdict(study_rule)}})
    return folder


def write_rules(folder: Path, rules: Mapping[str, Any], **eligibility: object) -> None:
    """A rule file with the release's eligibility part, but for made volumes, which hold less of a head."""
    rows = json.loads((WorkerSettings().weights / RULE_FILE).read_text(encoding="utf-8"))[PART]
    values = {"min_slices": 2, "min_covered_mm": 10.0, "min_filled_share": 0.5, **eligibility}
    part = {name: {**row, "value": values.get(name, row["value"])} for name, row in rows.items()}
    (folder / RULE_FILE).write_text(json.dumps({PART: part, **rules}))
