"""Sections of the body are found and measured in CT and MR."""

from dataclasses import replace

import numpy as np
import pytest

from tests.eligibility.rule import RULE
from tests.vision.synthetic import axial_head, ct_head, reference_features
from worker.vision.slices.sections import measure_sections

pytestmark = pytest.mark.unit


def test_a_hollow_thing_is_not_filled() -> None:
    stack = axial_head()
    inside = np.indices(stack.voxels.shape[1:]) - np.array(stack.voxels.shape[1:])[:, None, None] / 2
    hollow = np.where(np.hypot(inside[0] * 2.5, inside[1] * 2.0) < 55, 1, stack.voxels).astype(np.float32)
    assert np.median(measure_sections(replace(stack, voxels=hollow)).filled) < RULE.min_filled_share
    assert measure_sections(stack).filled.min() > 0.95


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


@pytest.mark.parametrize("scale", [1e-9, 1e-6, 1e6])
def test_sections_do_not_depend_on_the_units_of_the_signal(scale: float) -> None:
    stack = axial_head()
    scaled = measure_sections(replace(stack, voxels=(stack.voxels * scale).astype(np.float32)))
    np.testing.assert_allclose(scaled.area_mm2, measure_sections(stack).area_mm2, rtol=0.02)
