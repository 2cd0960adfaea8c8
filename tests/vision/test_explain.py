"""Grad-CAM in closed form is Grad-CAM, and the right slices are kept."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from neurotriage.core.values import Finding, Plane, Side
from tests.vision.synthetic import axial_head, ball, head_with, turned, volume, write_weights
from worker.vision.eligibility import measure_sections
from worker.vision.explain import Shown, build_evidence, hot_region, rows_to_show
from worker.vision.models import load_models
from worker.vision.network import SliceNet, grad_cam
from worker.vision.predict import SlicePredictions, predict

pytestmark = pytest.mark.unit


def test_the_closed_form_equals_the_hook_version() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(3)
    network = SliceNet().eval()
    inputs = torch.rand(3, 1, 64, 64)
    kept: dict[str, Tensor] = {}

    def keep(_: torch.nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
        output.retain_grad()
        kept["features"] = output

    hook = network.decoder.merge8.register_forward_hook(keep)
    outputs = network(inputs)
    outputs.tumour.sum().backward()
    hook.remove()
    features, gradient = kept["features"], kept["features"].grad
    assert gradient is not None
    reference = torch.relu((gradient.mean((2, 3), keepdim=True) * features).sum(1)) * features[0, 0].numel()
    closed = grad_cam(outputs.features, network.tumour_gradient(outputs.pooled))
    assert (closed - reference).abs().max() / reference.max() < 1e-4


def test_other_weights_give_another_map(tmp_path: Path) -> None:
    maps = []
    for seed in (1, 2):
        folder = tmp_path / str(seed)
        folder.mkdir()
        model = load_models(write_weights(folder, seed), threads=1).of("MR")
        assert model is not None
        stack = axial_head(shape=(2, 40, 48), spacing_mm=(5.0, 4.0))
        maps.append(predict(stack, measure_sections(stack), model).heat.ravel())
    one, other = (values / (values.max() + 1e-12) for values in maps)
    assert np.abs(one - other).max() > 0.2


@pytest.fixture(scope="module")
def predictions(tmp_path_factory: pytest.TempPathFactory) -> SlicePredictions:
    model = load_models(write_weights(tmp_path_factory.mktemp("weights")), threads=1).of("MR")
    assert model is not None
    stack = volume(head_with(ball((20, 0, 0), 15)), *turned(Plane.AXIAL)[5], Plane.AXIAL)
    return predict(stack, measure_sections(stack), model)


def test_a_negative_series_keeps_its_highest_and_its_middle_slice(predictions: SlicePredictions) -> None:
    smoothed = np.zeros(len(predictions.indices))
    smoothed[2] = 0.2
    assert rows_to_show(predictions, smoothed, (), 25) == (2, 6)


def test_heat_lies_on_the_stored_grid_between_0_and_1(predictions: SlicePredictions) -> None:
    stack = volume(head_with(), *turned(Plane.AXIAL)[5], Plane.AXIAL)
    evidence = build_evidence([Shown(stack, predictions, (2, 6), predictions.masks, 0.5)], ("1.2.3", 6))
    assert evidence.key == 1
    assert [item.slice_index for item in evidence.slices] == [2, 6]
    for item in evidence.slices:
        assert item.heat.shape == item.mask.shape == stack.voxels.shape[1:]
        assert item.heat.dtype == np.float16
        assert item.heat.min() >= 0
    assert max(item.heat.max() for item in evidence.slices) == 1


def test_cold_maps_stay_cold() -> None:
    assert not hot_region(np.zeros((2, 4, 4), np.float32)).any()


def test_of_many_slices_the_key_and_the_most_probable_ones_with_a_finding_stay(
    predictions: SlicePredictions,
) -> None:
    tumour = np.linspace(0.1, 0.9, len(predictions.indices))
    smoothed = np.zeros_like(tumour)
    smoothed[3] = 1.0
    findings = [
        Finding(1, "1.2.3", "", None, index, (0, 0, 1, 1), (), 1.0, Side.LEFT, 0.5) for index in (3, 5, 6, 7)
    ]
    ranked = replace(predictions, tumour=tumour)
    assert rows_to_show(ranked, smoothed, findings, 25) == (2, 3, 4, 5, 6, 7, 8)
    assert rows_to_show(ranked, smoothed, findings, 3) == (3, 6, 7)
