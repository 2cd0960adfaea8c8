"""What is no head never gets an answer."""

from dataclasses import replace

import numpy as np
import pytest

from neurotriage.core.values import Plane, ReasonCode
from tests.vision.synthetic import axial_head, ct_head, predictions, reference_features, rule
from worker.vision.series.eligibility import neighbour_correlation, no_head, noisy
from worker.vision.slices.sections import measure_sections

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("kind", ["normal", "uniform", "rayleigh", "flat", "sparse"])
def test_noise_is_named_noise(kind: str) -> None:
    random, shape = np.random.default_rng(0), (5, 64, 64)
    pixels = {
        "normal": random.normal(size=shape),
        "uniform": random.uniform(size=shape),
        "rayleigh": random.rayleigh(size=shape),
        "flat": np.full(shape, 7.0),
        "sparse": (random.uniform(size=shape) > 0.99).astype(float),
    }[kind]
    reason = noisy(replace(axial_head(), voxels=pixels.astype(np.float32)), rule())
    assert reason is not None
    assert reason.code is ReasonCode.NOISE


def test_a_noisy_head_is_no_noise() -> None:
    stack = axial_head()
    grainy = stack.voxels + np.random.default_rng(0).normal(scale=20, size=stack.voxels.shape)
    assert noisy(replace(stack, voxels=grainy.astype(np.float32)), rule()) is None


def test_slices_of_air_beyond_the_head_are_not_taken_for_noise() -> None:
    stack = axial_head(shape=(31, 80, 96))  # the ball fills the middle 13 slices
    grainy = stack.voxels + np.random.default_rng(0).normal(scale=2, size=stack.voxels.shape)
    assert noisy(replace(stack, voxels=grainy.astype(np.float32)), rule()) is None


def test_the_correlation_of_neighbours_is_that_of_the_worse_direction() -> None:
    stripes = np.random.default_rng(0).normal(size=(64, 1)).repeat(64, 1).astype(np.float32)
    assert neighbour_correlation(stripes) < 0.3


def test_a_series_whose_slices_show_no_head_is_refused() -> None:
    stack = axial_head()
    sections, strict = measure_sections(stack), rule(head_probability=0.5, odd_axial=0.8)
    ordinary, strange = np.zeros(12), np.ones(12)
    assert no_head(predictions(np.full(12, 0.9)), ordinary, sections, strict, Plane.AXIAL) is None
    low = no_head(predictions(np.full(12, 0.1)), ordinary, sections, strict, Plane.AXIAL)
    odd = no_head(predictions(np.full(12, 0.9)), strange, sections, strict, Plane.AXIAL)
    assert low is not None
    assert low.code is ReasonCode.NOT_A_HEAD
    assert odd is not None
    assert odd.code is ReasonCode.OUT_OF_DISTRIBUTION
    assert no_head(predictions(np.full(12, 0.9)), strange, sections, strict, Plane.SAGITTAL) is None


def test_a_hollow_thing_is_no_head() -> None:
    stack = axial_head()
    inside = np.indices(stack.voxels.shape[1:]) - np.array(stack.voxels.shape[1:])[:, None, None] / 2
    hollow = np.where(np.hypot(inside[0] * 2.5, inside[1] * 2.0) < 55, 1, stack.voxels).astype(np.float32)
    sections = measure_sections(replace(stack, voxels=hollow))
    refusal = no_head(predictions(np.ones(12)), np.zeros(12), sections, rule(), Plane.AXIAL)
    assert refusal is not None
    assert refusal.code is ReasonCode.NOT_A_HEAD
    assert measure_sections(stack).filled.min() > 0.95


def test_empty_end_slices_do_not_make_a_head_something_else() -> None:
    stack = axial_head(shape=(31, 80, 96))  # the ball fills the middle 13 slices
    sections = measure_sections(stack)
    head = np.where(sections.area_mm2 > 0, 0.9, 0.0)
    assert no_head(predictions(head), np.zeros(31), sections, rule(head_probability=0.5), Plane.AXIAL) is None


@pytest.mark.parametrize("way", ["whole", "gap", "stripped"])
def test_brain_is_found_in_a_skull_behind_a_gap_and_without_one(way: str) -> None:
    sections = measure_sections(ct_head(skull=way != "stripped", gap=way == "gap"))
    middle = sections.area_mm2 > 0.5 * sections.area_mm2.max()
    assert sections.brain_mm2.max() == pytest.approx(np.pi * 68**2, rel=0.12)
    assert (sections.brain_mm2[middle] > 0.85 * sections.area_mm2[middle]).all()


def test_soft_tissue_that_no_bone_encloses_is_no_brain() -> None:
    stack = ct_head()
    neck = stack.positions_mm[:, 2] < -20
    without_bone = np.where((stack.voxels > 150) & neck[:, None, None], 50.0, stack.voxels)
    sections = measure_sections(replace(stack, voxels=without_bone.astype(np.float32)))
    assert (sections.brain_shares[neck] < 0.05).all()
    assert sections.shares[neck].max() > 0.8
    assert sections.brain_shares[~neck].max() == 1


def test_the_cap_of_bone_above_the_brain_shows_nothing() -> None:
    stack = ct_head()
    cap = stack.positions_mm[:, 2] > 69
    assert cap.any()
    assert (measure_sections(stack).shares[cap] < 0.05).all()


def test_of_mr_every_section_counts_as_brain() -> None:
    sections = measure_sections(axial_head())
    assert (sections.brain_mm2 == sections.area_mm2).all()


def test_sections_are_measured_in_square_millimetres() -> None:
    stack = axial_head(shape=(3, 200, 240), spacing_mm=(1.0, 0.8), step_mm=20.0)
    sections = measure_sections(stack)
    assert sections.area_mm2[1] == pytest.approx(np.pi * 75**2, rel=0.06)
    assert sections.centre_px[1] == pytest.approx([99.5, 119.5], abs=2)


def test_a_feature_far_from_the_training_data_is_odd() -> None:
    reference = reference_features(6)
    ordinary = np.array([[1, 1, 0.1, 0, 0, 0], [0, 0, 0, 0.1, 0, 0]], np.float32)
    beyond_the_axes = np.array([[1, 1, 0, 1, 0, 0]], np.float32)
    far_along_an_axis = np.array([[9, 0, 0, 0, 0, 0]], np.float32)
    assert reference.score(ordinary).max() < 0.1
    assert reference.score(beyond_the_axes) == 1
    assert reference.score(far_along_an_axis) == 1
