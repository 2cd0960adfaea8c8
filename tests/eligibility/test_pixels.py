"""What no model should see is turned away by its pixels; heads pass."""

import numpy as np
import pytest
from numpy.typing import NDArray

from neurotriage.core.values import Plane, ReasonCode, SliceSource
from neurotriage.core.volume import Volume
from tests.eligibility.rule import RULE
from worker.eligibility import Extent, refused_by_pixels, too_coarse, too_few_slices
from worker.imaging import extent, pixel_facts
from worker.imaging.pixel_facts import neighbour_correlation

pytestmark = pytest.mark.unit

_SIDE = 128
_ACROSS, _DOWN = np.meshgrid(np.arange(_SIDE) - _SIDE / 2, np.arange(_SIDE) - _SIDE / 2)


def _ellipse(width_px: float, height_px: float) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = (_ACROSS / width_px * 2) ** 2 + (_DOWN / height_px * 2) ** 2 <= 1
    return inside


def _volume(
    picture: NDArray[np.floating], modality: str, spacing_mm: float = 2.0, slices: int = 10, step: float = 5.0
) -> Volume:
    random = np.random.default_rng(3)
    voxels = np.stack([picture + random.normal(0, 2, picture.shape) for _ in range(slices)])
    return Volume(
        series_instance_uid="2.25.1",
        modality=modality,
        description="",
        voxels=voxels.astype(np.float32),
        row_direction=np.array([1.0, 0.0, 0.0]),
        column_direction=np.array([0.0, 1.0, 0.0]),
        pixel_spacing_mm=(spacing_mm, spacing_mm),
        positions_mm=np.array([[0.0, 0.0, step * n] for n in range(slices)]),
        thickness_mm=step,
        plane=Plane.AXIAL,
        sources=tuple(SliceSource(f"2.25.{n}", None, n) for n in range(slices)),
    )


def _ct_head() -> NDArray[np.float64]:
    """Air, scalp, a shell of bone, brain."""
    values = np.full((_SIDE, _SIDE), -1000.0)
    values[_ellipse(80, 100)] = 40.0
    values[_ellipse(76, 96)] = 900.0
    values[_ellipse(70, 90)] = 32.0
    return values


def _mr_head() -> NDArray[np.float64]:
    """Scalp, dark bone, and a brain with folds."""
    values = np.zeros((_SIDE, _SIDE))
    values[_ellipse(80, 100)] = 300.0
    values[_ellipse(76, 96)] = 20.0
    folds = 200.0 + 60.0 * np.sin(_ACROSS / 2) * np.cos(_DOWN / 2)
    values[_ellipse(70, 90)] = folds[_ellipse(70, 90)]
    return values


def _code(volume: Volume) -> ReasonCode | None:
    reason = refused_by_pixels(pixel_facts(volume), RULE)
    return None if reason is None else reason.code


def test_a_head_passes() -> None:
    assert _code(_volume(_ct_head(), "CT")) is None
    assert _code(_volume(_mr_head(), "MR")) is None


@pytest.mark.parametrize("modality", ["CT", "MR"])
@pytest.mark.parametrize("kind", ["uniform", "normal", "rayleigh", "sparse"])
def test_noise_is_turned_away(modality: str, kind: str) -> None:
    random, shape = np.random.default_rng(1), (_SIDE, _SIDE)
    noise = {
        "uniform": random.uniform(0, 1, shape),
        "normal": random.normal(0.5, 0.1, shape),
        "rayleigh": random.rayleigh(0.3, shape),
        "sparse": (random.uniform(0, 1, shape) > 0.99).astype(float),
    }[kind]
    lowest_hu = -1000.0 if modality == "CT" else 0.0
    assert _code(_volume(lowest_hu + 1500 * noise, modality)) is ReasonCode.NOISE


def test_a_grainy_head_is_no_noise() -> None:
    volume = _volume(_mr_head(), "MR")
    volume.voxels[:] += np.random.default_rng(0).normal(0, 20, volume.voxels.shape)
    assert _code(volume) is None


def test_slices_of_air_beyond_the_head_are_not_taken_for_noise() -> None:
    volume = _volume(_mr_head(), "MR", slices=30)
    volume.voxels[10:] = np.random.default_rng(0).normal(0, 2, (20, _SIDE, _SIDE))
    assert pixel_facts(volume).correlation > 0.8
    assert _code(volume) is None


def test_the_correlation_of_neighbours_is_that_of_the_worse_direction() -> None:
    stripes = np.random.default_rng(0).normal(size=(64, 1)).repeat(64, 1).astype(np.float32)
    assert neighbour_correlation([stripes]) < 0.3


def test_a_blank_volume_is_turned_away() -> None:
    volume = _volume(_mr_head(), "MR")
    volume.voxels[:] = 7
    assert _code(volume) is ReasonCode.UNREADABLE_PIXELS


def test_a_flat_mr_phantom_is_no_head() -> None:
    picture = np.where(_ellipse(90, 90), 5000.0, 0.0)
    assert _code(_volume(picture, "MR")) is ReasonCode.NOT_A_HEAD


def test_an_empty_skull_is_no_head() -> None:
    picture = _ct_head()
    picture[_ellipse(70, 90)] = -1000.0
    assert _code(_volume(picture, "CT")) is ReasonCode.NOT_A_HEAD


def test_soft_tissue_without_a_ring_of_bone_is_no_head() -> None:
    picture = np.full((_SIDE, _SIDE), -1000.0)
    picture[_ellipse(90, 70)] = 45.0
    picture[60:68, 85:95] = 600.0  # a spine
    assert _code(_volume(picture, "CT")) is ReasonCode.NOT_A_HEAD


def test_a_trunk_is_too_large_for_a_head() -> None:
    picture = _ct_head()
    assert _code(_volume(picture, "CT", spacing_mm=3.5)) is ReasonCode.NOT_A_HEAD


def test_ct_values_without_air_or_fat_contradict_the_header() -> None:
    assert _code(_volume(_mr_head(), "CT")) is ReasonCode.HEADER_CONTRADICTS_PIXELS


def test_a_head_within_a_head_and_neck_series_passes() -> None:
    volume = _volume(_ct_head(), "CT", slices=12)
    neck = np.where(_ellipse(60, 60), 50.0, -1000.0)
    volume.voxels[:8] = neck
    assert _code(volume) is None


@pytest.mark.parametrize(
    ("spacing_mm", "slices", "step", "code"),
    [
        (2.0, 10, 5.0, None),
        (2.0, 4, 5.0, ReasonCode.TOO_FEW_SLICES),
        (2.0, 1, 5.0, ReasonCode.TOO_FEW_SLICES),
        (2.0, 12, 1.0, ReasonCode.TOO_FEW_SLICES),
        (0.3, 10, 5.0, ReasonCode.TOO_COARSE),
        (4.5, 10, 5.0, ReasonCode.TOO_COARSE),
    ],
)
def test_too_little_of_a_head_gives_no_answer(
    spacing_mm: float, slices: int, step: float, code: ReasonCode | None
) -> None:
    size = extent(_volume(_mr_head(), "MR", spacing_mm, slices, step))
    reason = too_few_slices(size, RULE) or too_coarse(size, RULE)
    assert (None if reason is None else reason.code) is code


def test_a_length_just_below_the_limit_is_not_rounded_up_to_it() -> None:
    reason = too_few_slices(Extent(12, 24.96, 256, 256, (1.0, 1.0)), RULE)
    assert reason is not None
    assert reason.text == "the slices cover 24 mm; 25 mm or more are needed"
    assert too_few_slices(Extent(5, 25.0, 256, 256, (1.0, 1.0)), RULE) is None
