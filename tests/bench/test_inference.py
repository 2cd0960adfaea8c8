"""The bench of inference compares two ways to the same answers, on the weights that there are."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bench import inference
from tests.vision.synthetic import write_weights
from training.release.export import enter, written
from worker.vision.engines import TORCH, EngineUnavailable, TorchEngine
from worker.vision.engines.eager import folded
from worker.vision.network import RESNET50, SliceNet
from worker.vision.registry import read_cards
from worker.vision.registry.self_check import drawn_slices


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A weights folder with a small model that decides, and nothing measured on this host."""
    monkeypatch.setenv("NEUROTRIAGE_CONFIG", "/dev/null")
    monkeypatch.setenv("NEUROTRIAGE__WORKER__WEIGHTS", str(tmp_path))
    monkeypatch.setenv("NEUROTRIAGE__WORKER__THREADS", "1")
    monkeypatch.setenv("NEUROTRIAGE__STORAGE__ROOT", str(tmp_path / "storage"))
    return write_weights(tmp_path)


def resnet(name: str, folder: Path) -> SliceNet:
    """Random weights of a ResNet-50 with batch statistics, entered into the registry."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = SliceNet(RESNET50).train()
    with torch.no_grad():
        network(torch.from_numpy(drawn_slices(64)))
    save_file(network.state_dict(), folder / "best.safetensors")
    enter(written(name, "3", 64, folder / "best.safetensors", folder), folder)
    return network.eval()


def test_both_ways_give_the_same_answers_and_maps(tmp_path: Path) -> None:
    network, slices = resnet("mr-classifier", tmp_path), drawn_slices(64)
    usual, usual_maps = inference.judged_usually(network, slices)
    ours = folded(network)
    logits, maps = inference.judged(TorchEngine(TORCH, ours), ours, slices)
    torch.testing.assert_close(logits, usual, rtol=1e-3, atol=1e-3)
    assert maps.amax() > 0
    torch.testing.assert_close(
        maps / maps.amax(), usual_maps / usual_maps.amax(), rtol=1e-3, atol=1e-3
    )  # Selvaraju's weights are ours / (h * w)


def test_the_figures_are_those_of_the_classifier_of_the_registry(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_of_onnx(*_: object) -> None:
        raise EngineUnavailable("left out of this test: making its file takes long")

    monkeypatch.setattr("worker.vision.engines.opening.export_onnx", none_of_onnx)
    for name, small in {"SLICES": 4, "BATCH_SLICES": 2, "ROUNDS": 1, "MATRIX": 64}.items():
        monkeypatch.setattr(inference, name, small)
    resnet("ct-detector", weights)
    resnet("mr-classifier", weights)
    enter(replace(read_cards(weights).card("mr-classifier"), temperature=2.0), weights)
    monkeypatch.setattr(inference, "_child_rss", lambda *_: 1.0)
    assert inference.main(["--json", str(tmp_path / "figures.json")]) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["weights"] == "mr-classifier 3"
    assert (figures["threads"], figures["same_class_share"]) == (1, 1.0)
    assert figures["max_abs_dp"] < 0.01
    assert all(
        figures[name] > 0 for name in ("speedup", "slices_per_s", "baseline_slices_per_s", "gradcam_share")
    )
    assert figures["share_of_peak"] > 0


def test_without_a_classifier_the_figures_say_that_its_weights_are_random(weights: Path) -> None:
    card, _, name = inference._resnet(weights)
    assert card.name == "random"
    assert name.startswith("RANDOM")


def test_a_process_of_its_own_says_what_memory_its_models_take(
    weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inference.main(["--rss", "full"]) == 0
    assert float(capsys.readouterr().out) > 100
    assert inference._child_rss(weights, "light") is None
