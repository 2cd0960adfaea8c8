"""Slices reach the network in its view, and what it says comes back to the voxel."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from neurotriage.core.values import Plane
from neurotriage.core.volume import Volume
from tests.vision.synthetic import axial_head, ball, head_with, turned, volume, write_weights
from worker.vision.model import Model
from worker.vision.models import load_models
from worker.vision.network import SliceOutputs
from worker.vision.series.predict import MAX_SLICES, InputGrid, predict, predicted_indices, windowed
from worker.vision.slices.display import Display, display_of
from worker.vision.slices.preprocess import head_box, network_inputs
from worker.vision.slices.sections import measure_sections

pytestmark = pytest.mark.unit

EVERY_WAY = [
    pytest.param(plane, row, column, id=f"{plane}-{number}")
    for plane in Plane
    for number, (row, column) in enumerate(turned(plane))
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    models = load_models(write_weights(tmp_path_factory.mktemp("weights")), threads=1)
    found = models.of("MR")
    assert found is not None
    return found


@pytest.mark.parametrize(("plane", "row", "column"), EVERY_WAY)
def test_the_network_sees_the_radiological_view(plane, row, column) -> None:  # type: ignore[no-untyped-def]
    marks = {
        Plane.AXIAL: ((60.0, 0.0, 0.0), (0.0, -60.0, 0.0)),  # left of the patient; front
        Plane.CORONAL: ((60.0, 0.0, 0.0), (0.0, 0.0, 60.0)),  # left of the patient; top
        Plane.SAGITTAL: ((0.0, 60.0, 0.0), (0.0, 0.0, 60.0)),  # back; top
    }
    for place_mm, expected in zip(marks[plane], ("right", "top"), strict=True):
        stack = volume(ball(place_mm, 20), row, column, plane)
        image = display_of(stack).show(stack.voxels).max(0)
        y, x = np.argwhere(image == image.max()).mean(0) / np.array(image.shape)
        assert (x > 0.6 and 0.4 < y < 0.6) if expected == "right" else (y < 0.4 and 0.4 < x < 0.6)


@pytest.mark.parametrize(("plane", "row", "column"), EVERY_WAY)
def test_a_bright_spot_comes_back_at_its_voxel(plane, row, column) -> None:  # type: ignore[no-untyped-def]
    stack = volume(head_with(ball((31.0, -22.0, 18.0), 9)), row, column, plane, spacing_mm=(2.0, 2.0))
    display = display_of(stack)
    shown = display.show(stack.voxels)
    box = head_box(shown, display.spacing_mm(stack.pixel_spacing_mm))
    inputs = network_inputs(shown, box, 128)
    grid = InputGrid(display, box, (stack.voxels.shape[1], stack.voxels.shape[2]))
    for seen, stored in zip(grid.on_source(inputs[:, 0]), stack.voxels, strict=True):
        if stored.max() < 250:  # the spot is not on this slice
            continue
        expected, found = (np.argwhere(image > 0.9 * image.max()).mean(0) for image in (stored, seen))
        assert np.abs(expected - found).max() < 0.5


def test_an_oblique_slice_goes_by_its_nearest_plane() -> None:
    angle = np.deg2rad(30)
    row, column = np.array([1.0, 0, 0]), np.array([0, np.cos(angle), np.sin(angle)])
    stack = volume(head_with(), row, column, Plane.AXIAL)
    assert display_of(stack) == Display(swap=False, flip_rows=False, flip_columns=False)


class Said:
    """An engine that says a lesion is everywhere on the given slices of a stack, and nowhere on others."""

    name, device = "said", "cpu"

    def __init__(self, model: Model, *lesions: int) -> None:
        self.run, self.lesions, self.seen = model.engine, lesions, 0

    def __call__(self, slices: torch.Tensor) -> SliceOutputs:
        rows = range(self.seen, self.seen + len(slices))
        self.seen += len(slices)
        logits = torch.tensor([9.0 if row in self.lesions else -9.0 for row in rows])
        outputs = self.run(slices)
        return outputs._replace(mask=logits[:, None, None, None].expand_as(outputs.mask))


def smoothed(model: Model, stack: Volume, *lesions: int) -> NDArray[np.float32]:
    """(n,) the highest mask of each slice, smoothed by 5 mm."""
    rule = replace(model.rule, mask_smoothing_mm=5.0)
    said = replace(model, rule=rule, engine=Said(model, *lesions))
    return predict(stack, measure_sections(stack), said).masks.max((1, 2))


def test_a_mask_on_one_slice_that_those_around_deny_is_no_lesion(model: Model) -> None:
    stack = axial_head(shape=(12, 40, 48), spacing_mm=(5.0, 4.0), step_mm=5.0)
    assert (smoothed(model, stack, 6) < 0.5).all()
    assert np.flatnonzero(smoothed(model, stack, 5, 6, 7) > 0.5).tolist() == [5, 6, 7]


def test_smoothing_goes_by_the_places_of_the_slices_that_were_looked_at(model: Model) -> None:
    """Of a long stack, neighbours are further apart than those of the stack."""
    count = 3 * MAX_SLICES
    stack = axial_head(shape=(count, 10, 12), spacing_mm=(20.0, 16.0), step_mm=0.25)
    apart = replace(stack, positions_mm=stack.positions_mm * np.array([1, 1, 16.0]))  # 12 mm between looks
    assert np.flatnonzero(smoothed(model, apart, MAX_SLICES // 2) > 0.5).tolist() == [MAX_SLICES // 2]


def test_what_is_said_of_a_blank_slice_smears_into_no_other(model: Model) -> None:
    stack = axial_head(shape=(12, 40, 48), spacing_mm=(5.0, 4.0), step_mm=5.0)
    voxels = stack.voxels.copy()
    voxels[:3] = 0
    blank = replace(stack, voxels=voxels)
    assert (smoothed(model, blank, 0, 1, 2) < 0.01).all()


def test_batches_say_what_single_slices_say(model: Model) -> None:
    stack = axial_head(shape=(20, 40, 48), spacing_mm=(5.0, 4.0), step_mm=7.0)
    found = predict(stack, measure_sections(stack), model)
    display = display_of(stack)
    with torch.inference_mode():
        for row in (0, 7, 19):
            shown = display.show(stack.voxels[row : row + 1])
            single = model.network(
                torch.from_numpy(network_inputs(shown, found.grid.box, model.card.input_px))
            )
            assert found.tumour[row] == pytest.approx(torch.sigmoid(single.tumour).item(), abs=1e-4)
            assert found.masks[row] == pytest.approx(torch.sigmoid(single.mask[0, 0]).numpy(), abs=1e-4)
    assert found.classes.sum(1) == pytest.approx(1.0)


def test_bone_and_air_do_not_change_what_the_network_sees_of_ct(model: Model) -> None:
    def patient(points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Air, a skull of 1000 HU, brain of 35 HU with a lesion of 60 HU."""
        head, brain = ball((0, 0, 0), 80)(points), ball((0, 0, 0), 70)(points)
        lesion = ball((25, 0, 0), 15)(points)
        return -1000 + 2000 * head - 965 * brain + 25 * lesion

    stack = volume(patient, *turned(Plane.AXIAL)[0], Plane.AXIAL, modality="CT")
    denser = replace(stack, voxels=np.where(stack.voxels > 500, 3000, stack.voxels).astype(np.float32))
    thinner = replace(stack, voxels=np.where(stack.voxels < -500, -2000, stack.voxels).astype(np.float32))
    sections = measure_sections(stack)
    one, other, third = (predict(each, sections, model) for each in (stack, denser, thinner))
    for field in ("tumour", "masks", "heat"):
        assert getattr(one, field) == pytest.approx(getattr(other, field), abs=1e-6)
        assert getattr(one, field) == pytest.approx(getattr(third, field), abs=1e-6)
    shown = windowed(stack, np.arange(len(stack.voxels)))
    assert (shown.min(), shown.max()) == (0, 1)
    assert np.median(shown[6][stack.voxels[6] == 35]) == pytest.approx(35 / 80, abs=1e-3)


def test_a_long_stack_is_looked_at_in_evenly_spread_slices() -> None:
    indices = predicted_indices(997)
    assert len(indices) == MAX_SLICES
    assert (indices[0], indices[-1]) == (0, 996)
    assert set(np.diff(indices)) <= {5, 6}
    assert predicted_indices(3).tolist() == [0, 1, 2]


def test_the_temperature_of_the_card_softens_the_probability(tmp_path: Path, model: Model) -> None:
    registry = write_weights(tmp_path) / "registry.json"
    registry.write_text(registry.read_text().replace('"temperature": 1.0', '"temperature": 2.0'))
    softer = load_models(tmp_path, threads=1).of("MR")
    assert softer is not None
    stack = axial_head(shape=(3, 40, 48), spacing_mm=(5.0, 4.0))
    hard, soft = (predict(stack, measure_sections(stack), one).tumour for one in (model, softer))
    assert np.log(soft / (1 - soft)) == pytest.approx(np.log(hard / (1 - hard)) / 2, abs=1e-5)


def test_a_blank_slice_has_no_tumour_whatever_the_network_says(model: Model) -> None:
    stack = axial_head(shape=(31, 40, 48), spacing_mm=(5.0, 4.0))  # the ball fills the middle 13 slices
    found = predict(stack, measure_sections(stack), model)
    blank = np.abs(stack.positions_mm[:, 2]) > 76
    assert blank.any()
    assert not found.tumour[blank].any()
    assert not found.masks[blank].any()
    assert not found.heat[blank].any()
    assert found.tumour[~blank].all()
