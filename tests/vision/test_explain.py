"""Grad-CAM in closed form is Grad-CAM, and the right slices are kept."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurotriage.core.evidence import Evidence
from neurotriage.core.values import Finding, Plane, Side
from tests.vision.synthetic import axial_head, ball, head_with, turned, volume, write_weights
from worker.vision.models import load_models
from worker.vision.network import SliceNet, grad_cam
from worker.vision.series.explain import KeptSlices, build_evidence, hot_region, rows_to_show, weighted_heat
from worker.vision.series.predict import SlicePredictions, predict
from worker.vision.slices.sections import measure_sections

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


def none_of(predictions: SlicePredictions) -> NDArray[np.bool_]:
    return np.zeros(len(predictions.indices), dtype=np.bool_)


def test_of_a_negative_series_the_slice_of_the_highest_score_is_kept(predictions: SlicePredictions) -> None:
    smoothed = np.zeros(len(predictions.indices))
    smoothed[2] = 0.2
    assert rows_to_show(predictions, smoothed, (), none_of(predictions), 25) == (2,)


def test_of_a_series_in_doubt_the_suspicious_slices_are_kept(predictions: SlicePredictions) -> None:
    smoothed, suspicious = np.zeros(len(predictions.indices)), none_of(predictions)
    smoothed[4], suspicious[3:6] = 0.5, True
    assert rows_to_show(predictions, smoothed, (), suspicious, 25) == (3, 4, 5)
    assert rows_to_show(predictions, smoothed, (), suspicious, 1) == (4,)


def evidence_of(predictions: SlicePredictions, suspicious: NDArray[np.bool_]) -> Evidence:
    stack = volume(head_with(), *turned(Plane.AXIAL)[5], Plane.AXIAL)
    lesions = np.ones_like(predictions.masks)
    shown = KeptSlices(stack, predictions, (2, 6), lesions, 0.5, predictions.tumour, suspicious)
    return build_evidence([shown], (stack.sources[6].sop_instance_uid, stack.sources[6].frame))


def test_heat_lies_on_the_stored_grid_and_is_as_hot_as_slice_and_neighbours_are_probable(
    predictions: SlicePredictions,
) -> None:
    tumour = np.where(np.arange(len(predictions.indices)) == 2, 0.35, 0.9)
    sure = replace(predictions, tumour=tumour, heat=np.ones_like(predictions.heat) * np.float32(7.5))
    evidence = evidence_of(sure, ~none_of(predictions))
    assert evidence.key == 1
    assert [item.slice_index for item in evidence.slices] == [2, 6]
    for item, hottest in zip(evidence.slices, (0.35, 0.9), strict=True):
        assert item.heat.shape == item.mask.shape == (80, 96)
        assert item.heat.dtype == np.float16
        assert item.heat.min() >= 0
        assert item.heat.max() == pytest.approx(hottest, abs=1e-3)


def test_the_scale_of_the_heat_does_not_depend_on_other_slices_or_on_the_map_s_own_maximum() -> None:
    map_ = np.array([[[0.0, 0.5], [1.0, 2.0]]], dtype=np.float32)
    alone = weighted_heat(map_, np.array([0.8]))
    np.testing.assert_allclose(alone[0], [[0, 0.2], [0.4, 0.8]], atol=1e-3)
    beside = weighted_heat(np.concatenate([1000 * map_, map_]), np.array([0.99, 0.8]))
    np.testing.assert_array_equal(beside[1], alone[0])
    assert not weighted_heat(np.zeros_like(map_), np.array([0.8])).any()


def test_nothing_is_marked_on_a_slice_below_the_lower_threshold(predictions: SlicePredictions) -> None:
    suspicious = none_of(predictions)
    suspicious[6] = True
    hot = replace(predictions, heat=np.ones_like(predictions.heat), tumour=np.ones(len(suspicious)))
    below, above = evidence_of(hot, suspicious).slices
    assert (bool(below.heat.any()), bool(below.mask.any()), below.marked) == (False, False, False)
    assert (bool(above.heat.any()), bool(above.mask.any()), above.marked) == (True, True, True)


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
    suspicious = ~none_of(predictions)
    assert rows_to_show(ranked, smoothed, findings, suspicious, 25) == (2, 3, 4, 5, 6, 7, 8)
    assert rows_to_show(ranked, smoothed, findings, suspicious, 3) == (3, 6, 7)
    suspicious[2] = suspicious[8] = False
    assert rows_to_show(ranked, smoothed, findings, suspicious, 25) == (3, 4, 5, 6, 7)
