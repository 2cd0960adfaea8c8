"""Weights are used only when they are what the registry says."""

import json
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from worker.vision.network import CLASSES, SliceNet
from worker.vision.registry import BadWeights, ModelCard, card, cards, load

pytestmark = pytest.mark.unit


def write(folder: Path, data: bytes, **changes: object) -> ModelCard:
    """A weights folder with one model; returns its card as read from there."""
    (folder / "small.safetensors").write_bytes(data)
    row = {
        "name": "small",
        "version": "1",
        "file": "small.safetensors",
        "sha256": sha256(data).hexdigest(),
        "modality": "MR",
        "input_px": 64,
        "temperature": 1.5,
        "thresholds": {"tumour": 0.4},
        "classes": list(CLASSES),
        **changes,
    }
    (folder / "registry.json").write_text(json.dumps({"models": [row]}))
    return card("small", folder)


@pytest.fixture(scope="module")
def half_precision() -> bytes:
    torch.manual_seed(0)
    tensors = SliceNet().state_dict()
    return save({k: t.half() if t.is_floating_point() else t for k, t in tensors.items()})


def test_weights_are_stored_half_and_computed_in_full_precision(
    tmp_path: Path, half_precision: bytes
) -> None:
    model = write(tmp_path, half_precision)
    network = load(model, tmp_path)
    assert next(network.parameters()).dtype == torch.float32
    assert not network.training
    assert model.thresholds["tumour"] == 0.4
    assert model.temperature == 1.5


def test_a_truncated_file_is_refused_with_a_reason(tmp_path: Path, half_precision: bytes) -> None:
    model = write(tmp_path, half_precision)
    (tmp_path / model.file).write_bytes(half_precision[:-100])
    with pytest.raises(BadWeights, match="truncated"):
        load(model, tmp_path)


def test_a_file_with_another_hash_is_refused(tmp_path: Path, half_precision: bytes) -> None:
    model = write(tmp_path, half_precision, sha256="0" * 64)
    with pytest.raises(BadWeights, match="SHA-256"):
        load(model, tmp_path)


def test_a_missing_file_is_named(tmp_path: Path, half_precision: bytes) -> None:
    model = write(tmp_path, half_precision)
    (tmp_path / model.file).unlink()
    with pytest.raises(BadWeights, match=r"small\.safetensors"):
        load(model, tmp_path)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    model = write(tmp_path, save({"tumour.weight": torch.zeros(1, 2)}))
    with pytest.raises(BadWeights, match="do not fit"):
        load(model, tmp_path)


def test_what_is_no_safetensors_file_is_refused_unread(tmp_path: Path, half_precision: bytes) -> None:
    model = replace(write(tmp_path, half_precision), file="small.pt")
    with pytest.raises(BadWeights, match="no safetensors"):
        load(model, tmp_path)


def test_other_classes_are_refused(tmp_path: Path, half_precision: bytes) -> None:
    model = write(tmp_path, half_precision, classes=["no", "yes"])
    with pytest.raises(BadWeights, match="classes"):
        load(model, tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"models": [{"name": "x"}]}', '{"models": 3}'])
def test_a_damaged_registry_is_refused_with_its_path(tmp_path: Path, text: str) -> None:
    (tmp_path / "registry.json").write_text(text)
    with pytest.raises(BadWeights, match=r"registry\.json"):
        cards(tmp_path)


def test_an_unknown_model_is_answered_with_what_there_is(tmp_path: Path, half_precision: bytes) -> None:
    write(tmp_path, half_precision)
    with pytest.raises(BadWeights, match="small"):
        card("large", tmp_path)


def test_reading_cards_needs_no_torch() -> None:
    code = "import sys; import worker.vision.registry; sys.exit('torch' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
