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

from worker.vision.network import CLASSES, Ensemble, SliceNet
from worker.vision.registry.registry import BadWeights, ModelCard, card, cards, ensemble_sha256, load, verify
from worker.vision.registry.verify import verify_all

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


def write_ensemble(folder: Path, data: bytes, **changes: object) -> Path:
    """A weights folder with two networks and their ensemble "mr"; ``changes`` go to the ensemble's row."""
    for name in ("one", "two"):
        (folder / f"{name}.safetensors").write_bytes(data)
    row: dict[str, object] = {
        "version": "1",
        "sha256": sha256(data).hexdigest(),
        "modality": "MR",
        "input_px": 64,
        "temperature": 1.0,
        "thresholds": {},
        "classes": list(CLASSES),
    }
    rows = [{**row, "name": name, "file": f"{name}.safetensors"} for name in ("one", "two")]
    known = sha256(2 * sha256(data).hexdigest().encode()).hexdigest()
    mean = {**row, "name": "mr", "members": ["one", "two"], "architecture": "ensemble", "sha256": known}
    (folder / "registry.json").write_text(json.dumps({"models": [{**mean, **changes}, *rows]}))
    return folder


def test_an_ensemble_is_loaded_from_the_files_of_its_members(tmp_path: Path, half_precision: bytes) -> None:
    model = card("mr", write_ensemble(tmp_path, half_precision))
    assert model.sha256 == ensemble_sha256([card("one", tmp_path), card("two", tmp_path)], mirrored=False)
    network = load(model, tmp_path)
    assert isinstance(network, Ensemble)
    assert len(network.networks) == 2
    assert not network.training
    assert [model.name for model in verify_all(tmp_path)] == ["mr", "one", "two"]


def test_an_ensemble_of_a_damaged_member_is_refused(tmp_path: Path, half_precision: bytes) -> None:
    model = card("mr", write_ensemble(tmp_path, half_precision))
    (tmp_path / "two.safetensors").write_bytes(half_precision[:-100])
    for use in (verify, load):
        with pytest.raises(BadWeights, match=r"two\.safetensors.*truncated"):
            use(model, tmp_path)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"sha256": "0" * 64}, "formed of other weights"),
        ({"members": ["two", "one", "one"]}, "formed of other weights"),
        ({"members": ["one", "three"]}, "no networks here: .*three"),
        ({"members": ["one", "mr"]}, "no networks here: .*mr"),
        ({"modality": "CT"}, "another modality"),
        ({"mirrored": True}, "formed of other weights"),
        ({"input_px": 96}, "another input_px"),
        ({"classes": ["no", "yes"]}, "another classes"),
    ],
)
def test_an_ensemble_that_does_not_fit_its_members_is_refused_when_it_is_read(
    change: dict[str, object], why: str, tmp_path: Path, half_precision: bytes
) -> None:
    with pytest.raises(BadWeights, match=why):
        cards(write_ensemble(tmp_path, half_precision, **change))


def test_reading_cards_needs_no_torch() -> None:
    code = "import sys; import worker.vision.registry.registry; sys.exit('torch' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
