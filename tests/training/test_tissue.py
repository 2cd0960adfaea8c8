"""The formulas by which synthetic masses change tissue."""

import numpy as np
import pytest

from training.synthetic_ct.tissue import grain, oedema_reach, ring, shift, without_fluid

pytestmark = pytest.mark.unit


def test_tissue_moves_most_at_the_border_of_a_mass_and_not_far_away() -> None:
    moved = shift(np.array([0.0, 5.0, 10.0, 20.0, 200.0]), radius=10.0, margin=4.0, strength=0.5)
    assert moved.argmax() == 2
    assert moved[0] == 0
    assert moved[2] == pytest.approx(5.0)
    assert moved[-1] < 1e-4


def test_oedema_fades_with_distance() -> None:
    reach = oedema_reach(np.linspace(0, 30, 31), width=10.0, noise=np.zeros(31))
    assert (np.diff(reach) < 0).all()
    assert reach[0] > 0.99
    assert reach[10] == pytest.approx(0.5)
    assert reach[-1] < 0.01


def test_a_ring_is_bright_at_its_surface_and_dark_inside() -> None:
    density = ring(np.array([0.0, 3.0, 20.0]), rim=3.0, steepness=2.0, core=-15.0, wall=10.0)
    assert density == pytest.approx([10.0, -2.5, -15.0], abs=0.1)


def test_grain_is_kept_and_structure_is_not() -> None:
    picture = np.random.default_rng(0).normal(100, 2, (40, 40))
    picture[20, 20] = 900
    kept = grain(picture, 1.2, limit=12.0)
    assert kept[20, 20] == 0
    assert np.abs(kept).max() < 12
    assert kept[:15].std() > 1


def test_fluid_is_spared() -> None:
    picture = np.full((30, 30), 35.0)
    picture[10:20, 10:20] = 5  # a ventricle
    tissue = without_fluid(picture, np.ones(picture.shape, bool), 1.2, limit=12.0)
    assert tissue[0, 0]
    assert not tissue[15, 15]
