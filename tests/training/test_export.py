"""The export of training: half-precision weights, a registry entry, a card of measured figures."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.training.conftest import write_manifest
from training.data.manifest import read
from training.evaluation.cases import cases
from training.evaluation.predict import predictions
from training.evaluation.slices import evaluate
from training.release.card import card_text
from training.release.export import enter, written
from worker.vision.network import SliceNet
from worker.vision.registry import read_cards
from worker.vision.registry.loading import load_network

pytestmark = pytest.mark.unit


def trained(folder: Path) -> Path:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    path = folder / "best.safetensors"
    save_file(SliceNet().state_dict(), path)
    return path


def test_exported_weights_load_by_their_card_and_answer_alike(tmp_path: Path) -> None:
    path = trained(tmp_path)
    model = written("mr-teacher", "9.9", 64, path, tmp_path / "weights")
    enter(replace(model, temperature=1.25, thresholds={"tumour": 0.5, "mask": 0.5}), tmp_path / "weights")
    read_back = read_cards(tmp_path / "weights").card("mr-teacher")
    assert (read_back.version, read_back.temperature, read_back.sha256) == ("9.9", 1.25, model.sha256)
    torch.manual_seed(0)
    original, x = SliceNet().eval(), torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        ours = load_network(read_back, tmp_path / "weights")(x)
        torch.testing.assert_close(ours.tumour, original(x).tumour, atol=0.01, rtol=0.01)


def test_weights_that_do_not_fit_half_precision_are_not_written(tmp_path: Path) -> None:
    tensors = SliceNet().state_dict()
    tensors["tumour.bias"] = torch.tensor([1e6])
    save_file(tensors, tmp_path / "best.safetensors")
    with pytest.raises(ValueError, match="half precision"):
        written("mr-teacher", "1", 64, tmp_path / "best.safetensors", tmp_path)


def test_the_card_holds_the_figures_the_licences_and_the_limits(
    tmp_path: Path, toy: list[dict[str, str]]
) -> None:
    model = written("mr-teacher", "9.9", 64, trained(tmp_path), tmp_path / "weights")
    model = replace(model, thresholds={"tumour": 0.5, "mask": 0.5})
    manifest = read(write_manifest(tmp_path, toy), "MR")
    judged = cases(predictions(SliceNet().eval(), manifest.rows, 64), model)
    figures = evaluate(judged, model, manifest, "test")
    text = card_text(model, [model], figures, "a minute on nothing", size_bytes=1_000_000).markdown()
    auc = figures["tumour"]["auc_roc"]["value"]
    for promised in (f"{auc:.3f}", model.sha256, "CC BY-NC-SA 4.0", "Research only", "a minute on nothing"):
        assert promised in text
    assert "| decoder, T1 alone | dice |" in text
