"""Boxes, outlines, sizes and sides of known lesions."""

import numpy as np
import pytest

from neurotriage.core.values import Finding, Plane, Side
from neurotriage.core.volume import Volume
from tests.vision.synthetic import ball, head_with, turned, volume
from worker.imaging.head import largest_component
from worker.vision.series.decide import map_pixel_mm2
from worker.vision.series.findings import box_of, contour, describe, find_lesions, largest_extent_mm
from worker.vision.series.predict import InputGrid, SlicePredictions
from worker.vision.slices.display import display_of
from worker.vision.slices.preprocess import head_box, mask_input
from worker.vision.slices.sections import measure_sections
from worker.vision.slices.slice_axis import slice_positions_mm, slice_steps_mm

pytestmark = pytest.mark.unit

MAP_PX = 64
RADIUS_MM = 16.0


def ideal_findings(stack: Volume, lesion: Volume) -> tuple[Finding, ...]:
    """The findings of a network that sees the lesion perfectly, at the resolution of its decoder."""
    display = display_of(stack)
    shown = display.show(stack.voxels)
    box = head_box(shown, display.spacing_mm(stack.pixel_spacing_mm))
    maps = np.stack([mask_input(slice_, box, MAP_PX) for slice_ in display.show(lesion.voxels)])
    grid = InputGrid(display, box, (stack.voxels.shape[1], stack.voxels.shape[2]))
    count = len(stack.voxels)
    none = np.zeros(count)
    predictions = SlicePredictions(
        np.arange(count), none, np.zeros((count, 3)), none, maps[:, 0], maps, maps, grid
    )
    steps_mm = slice_steps_mm(slice_positions_mm(stack), stack.thickness_mm)
    lesions = find_lesions(maps, 0.5, map_pixel_mm2(stack, grid, maps), steps_mm)
    return describe(stack, predictions, maps, 0.5, lesions, measure_sections(stack))


@pytest.mark.parametrize("plane", list(Plane))
@pytest.mark.parametrize("way", range(8))
@pytest.mark.parametrize(("x_mm", "side"), [(35.0, Side.LEFT), (-35.0, Side.RIGHT), (1.0, Side.MIDLINE)])
def test_a_ball_is_found_where_it_is(plane: Plane, way: int, x_mm: float, side: Side) -> None:
    shape, spacing_mm, step_mm = (15, 96, 110), (2.0, 1.8), 10.0
    lesion = ball((x_mm, -10.0, 12.0), RADIUS_MM)
    row, column = turned(plane)[way]
    stack, alone = (
        volume(patient, row, column, plane, shape=shape, spacing_mm=spacing_mm, step_mm=step_mm)
        for patient in (head_with(), lesion)
    )
    findings = ideal_findings(stack, alone)
    expected = {i for i, pixels in enumerate(alone.voxels) if (pixels > 0.5).any()}
    assert {finding.slice_index for finding in findings} == expected
    for finding in findings:
        true = box_of(alone.voxels[finding.slice_index] > 0.5)
        assert np.abs(np.array(finding.box) - np.array(true)).max() <= 1
        assert finding.side is side
        assert finding.sop_instance_uid == stack.sources[finding.slice_index].sop_instance_uid
        offset_mm = slice_positions_mm(alone)[finding.slice_index] - np.array([x_mm, -10.0, 12.0]) @ np.cross(
            row, column
        )
        diameter_mm = 2 * np.sqrt(RADIUS_MM**2 - offset_mm**2)
        assert finding.size_mm == pytest.approx(diameter_mm, abs=2.0)
        assert finding.outline[0] == finding.outline[-1]


def test_two_lesions_are_numbered_by_size() -> None:
    row, column = turned(Plane.AXIAL)[0]
    patients = (head_with(), lambda p: ball((40, 0, 0), 14)(p) + ball((-40, 0, 0), 20)(p))
    stack, alone = (volume(patient, row, column, Plane.AXIAL, step_mm=8.0) for patient in patients)
    sides = {finding.lesion: finding.side for finding in ideal_findings(stack, alone)}
    assert sides == {1: Side.RIGHT, 2: Side.LEFT}


def test_a_contour_follows_the_level_between_pixels() -> None:
    y, x = np.mgrid[:64, :64]
    field = np.clip(0.5 + (20 - np.hypot(y - 30.3, x - 33.6)) / 4, 0, 1)
    points = np.array(contour(field, 0.5))
    assert np.abs(np.hypot(points[:, 0] - 34.1, points[:, 1] - 30.8) - 20).max() < 0.1


def test_contours_are_closed_and_pass_each_point_once() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        field = random.integers(0, 3, (9, 11)) / 2  # flat parts, saddles, values at the level itself
        line = contour(field, 0.5)
        assert line[0] == line[-1]
        assert len(set(line)) == len(line) - 1


def test_a_lesion_at_the_image_border_has_a_closed_outline() -> None:
    field = np.zeros((10, 10))
    field[:3, :4] = 1
    line = contour(field, 0.5)
    assert line[0] == line[-1]
    assert min(x for x, _ in line) == pytest.approx(0)


def test_nothing_above_the_level_has_no_outline() -> None:
    assert contour(np.zeros((4, 4)), 0.5) == ()
    assert not largest_component(np.zeros((4, 4), bool)).any()


def test_the_size_is_the_largest_distance_in_millimetres() -> None:
    assert largest_extent_mm(((0, 0), (3, 0), (3, 4), (0, 0)), (2.0, 1.0)) == pytest.approx(73**0.5)
