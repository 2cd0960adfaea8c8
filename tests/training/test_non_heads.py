"""Pictures that are no head: each kind is in range, varied, and unlike the head that it is made of."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from training.data import non_heads
from training.data.non_heads import junk
from training.data.samples import depth_of

pytestmark = pytest.mark.unit

SIDE = 96
Maker = Callable[[np.random.Generator], NDArray[np.float32]]


def drawn_head() -> NDArray[np.float32]:
    """A bright rim around an inside with grain and a dark centre."""
    y, x = np.mgrid[:SIDE, :SIDE]
    radius = np.hypot(y - SIDE / 2, x - SIDE / 2)
    head = np.where(radius < 40, 0.5, 0.0) + np.where((radius < 40) & (radius > 36), 0.5, 0.0)
    head[radius < 8] = 0.2
    head += np.random.default_rng(0).normal(0, 0.03, head.shape) * (radius < 40)
    return head.clip(0, 1).astype(np.float32)


HEAD = drawn_head()
DEPTH = depth_of((HEAD * 255).astype(np.uint8)).astype(np.float32)
MAKERS: dict[str, Maker] = {
    "noise": lambda random: non_heads.noise(random, SIDE),
    "phantom": lambda random: non_heads.phantom(random, SIDE),
    "blob": lambda random: non_heads.blob(random, non_heads.rings(random, SIDE)),
    "rings": lambda random: non_heads.rings(random, SIDE),
    "mosaic": lambda random: non_heads.mosaic(random, [HEAD] * 4),
    "jigsaw": lambda random: non_heads.jigsaw(random, HEAD),
    "zoomed": lambda random: non_heads.zoomed(random, HEAD),
    "empty skull": lambda random: non_heads.empty_skull(random, HEAD, DEPTH),
    "field map": lambda random: non_heads.field_map(random, DEPTH),
    "scrambled": lambda random: non_heads.scrambled(random, HEAD),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_each_kind_is_finite_in_range_and_of_the_heads_size(kind: str) -> None:
    for seed in range(6):
        picture = MAKERS[kind](np.random.default_rng(seed))
        assert picture.shape == (SIDE, SIDE)
        assert np.isfinite(picture).all()
        assert -1e-6 <= picture.min() < picture.max() <= 1 + 1e-6


@pytest.mark.parametrize("kind", MAKERS)
def test_each_kind_varies_and_is_not_the_head(kind: str) -> None:
    first, second = (MAKERS[kind](np.random.default_rng(seed)) for seed in (0, 1))
    assert not np.array_equal(first, second)
    assert np.abs(first - HEAD).mean() > 0.01


@pytest.mark.parametrize("kind", MAKERS)
def test_a_seed_makes_the_same_picture_again(kind: str) -> None:
    assert np.array_equal(MAKERS[kind](np.random.default_rng(3)), MAKERS[kind](np.random.default_rng(3)))


def test_a_jigsaw_holds_the_pixels_of_the_head_elsewhere() -> None:
    parts = non_heads.jigsaw(np.random.default_rng(0), HEAD)
    assert np.isin(np.unique(parts), np.unique(HEAD)).all()
    assert np.abs(parts - HEAD).mean() > 0.05


def test_scrambling_keeps_how_strong_each_frequency_is() -> None:
    """But for the mean and the scale, to which pictures are brought."""
    made = non_heads.scrambled(np.random.default_rng(0), HEAD)
    spectra = [np.abs(np.fft.fft2(picture - picture.mean())).ravel()[1:] for picture in (HEAD, made)]
    assert np.corrcoef(spectra)[0, 1] > 0.999


def test_an_empty_skull_has_the_heads_shell_and_no_inside() -> None:
    made = non_heads.empty_skull(np.random.default_rng(2), HEAD, DEPTH)
    inside, shell = DEPTH > 30, (DEPTH > 0) & (DEPTH < 4)
    assert abs(np.corrcoef(made[inside], HEAD[inside])[0, 1]) < 0.3, "what was inside is gone"
    assert np.corrcoef(made[shell], HEAD[shell])[0, 1] > 0.99


def test_kinds_come_in_turn_and_are_repeatable() -> None:
    heads = (np.stack([HEAD, HEAD[::-1]]) * 255).astype(np.uint8)
    depths = np.stack([DEPTH, DEPTH[::-1]]).astype(np.uint8)
    made = junk(heads, depths, 25, seed=1)
    assert made.shape == (25, SIDE, SIDE)
    assert made.dtype == np.uint8
    assert np.array_equal(made, junk(heads, depths, 25, seed=1))
    assert not np.array_equal(made, junk(heads, depths, 25, seed=2))
    assert len({picture.tobytes() for picture in made}) == 25
