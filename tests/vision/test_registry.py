"""Weights are used only when they are what the registry says."""

import json
import subprocess
import sys
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from neurotriage.core.settings import WorkerSettings
from tests.vision.synthetic import write_weights
from tests.vision.test_fusion import both_weights, with_fusion
from training.release.export import as_row
from worker.vision import load_models
from worker.vision.network import CLASSES, Ensemble, SliceNet
from worker.vision.registry import BadWeights, ModelCard, read_cards, read_registry
from worker.vision.registry.cards import ensemble_sha256
from worker.vision.registry.loading import load_fusion, load_network

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
    return read_cards(folder).card("small")


@pytest.fixture(scope="module")
def half_precision() -> bytes:
    torch.manual_seed(0)
    tensors = SliceNet().state_dict()
    return save({k: t.half() if t.is_floating_point() else t for k, t in tensors.items()})


def test_weights_are_stored_half_and_computed_in_full_precision(
    tmp_path: Path, half_precision: bytes
) -> None:
    model = write(tmp_path, half_precision)
    network = load_network(model, tmp_path)
    assert next(network.parameters()).dtype == torch.float32
    assert not network.training
    assert model.thresholds["tumour"] == 0.4
    assert model.temperature == 1.5


def test_a_truncated_file_is_refused_with_a_reason(tmp_path: Path, half_precision: bytes) -> None:
    model = write(tmp_path, half_precision)
    (tmp_path / model.file).write_bytes(half_precision[:-100])
    with pytest.raises(BadWeights, match="truncated"):
        load_network(model, tmp_path)


def test_a_file_with_another_hash_is_refused(tmp_path: Path, half_precision: bytes) -> None:
    model = write(tmp_path, half_precision, sha256="0" * 64)
    with pytest.raises(BadWeights, match="SHA-256"):
        load_network(model, tmp_path)


def test_a_missing_file_is_named(tmp_path: Path, half_precision: bytes) -> None:
    model = write(tmp_path, half_precision)
    (tmp_path / model.file).unlink()
    with pytest.raises(BadWeights, match=r"small\.safetensors"):
        load_network(model, tmp_path)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    model = write(tmp_path, save({"tumour.weight": torch.zeros(1, 2)}))
    with pytest.raises(BadWeights, match="do not fit"):
        load_network(model, tmp_path)


def test_what_is_no_safetensors_file_is_refused_unread(tmp_path: Path, half_precision: bytes) -> None:
    model = replace(write(tmp_path, half_precision), file="small.pt")
    with pytest.raises(BadWeights, match="no safetensors"):
        load_network(model, tmp_path)


def test_other_classes_are_refused(tmp_path: Path, half_precision: bytes) -> None:
    model = write(tmp_path, half_precision, classes=["no", "yes"])
    with pytest.raises(BadWeights, match="classes"):
        load_network(model, tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"models": [{"name": "x"}]}', '{"models": 3}'])
def test_a_damaged_registry_is_refused_with_its_path(tmp_path: Path, text: str) -> None:
    (tmp_path / "registry.json").write_text(text)
    with pytest.raises(BadWeights, match=r"registry\.json"):
        read_cards(tmp_path)


def test_an_unknown_model_is_answered_with_what_there_is(tmp_path: Path, half_precision: bytes) -> None:
    write(tmp_path, half_precision)
    with pytest.raises(BadWeights, match="small"):
        read_cards(tmp_path).card("large")


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
    registry = read_cards(write_ensemble(tmp_path, half_precision))
    model = registry.card("mr")
    assert model.networks == (registry.card("one"), registry.card("two"))
    assert model.sha256 == ensemble_sha256(model.networks, mirrored=False)
    network = load_network(model, tmp_path)
    assert isinstance(network, Ensemble)
    assert len(network.networks) == 2
    assert not network.training
    registry.verify(*registry.cards.values())
    assert list(registry.cards) == ["mr", "one", "two"]


def test_an_ensemble_of_a_damaged_member_is_refused(tmp_path: Path, half_precision: bytes) -> None:
    registry = read_cards(write_ensemble(tmp_path, half_precision))
    (tmp_path / "two.safetensors").write_bytes(half_precision[:-100])
    for use in (registry.verify, lambda model: load_network(model, tmp_path)):
        with pytest.raises(BadWeights, match=r"two\.safetensors.*truncated"):
            use(registry.card("mr"))


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
        read_cards(write_ensemble(tmp_path, half_precision, **change))


def test_reading_cards_needs_no_torch() -> None:
    code = "import sys; import worker.vision.registry; sys.exit('torch' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_loading_a_network_imports_no_compiler() -> None:
    """Torch imports its compiler and sympy (1.5 s) to draw random numbers for weights without memory."""
    code = (
        "import sys, pathlib; from worker.vision import read_registry\n"
        "from worker.vision.registry.loading import load_network\n"
        "folder = pathlib.Path('weights')\n"
        "networks = [load_network(card, folder) for card in read_registry(folder).cards.values()]\n"
        "sys.exit(bool({'torch._dynamo', 'sympy'} & sys.modules.keys()))"
    )
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_one_hash_check_speaks_of_networks_and_of_the_fusion(tmp_path: Path) -> None:
    registry = read_registry(with_fusion(both_weights(tmp_path)))
    network, fusion = registry.card("random-CT"), registry.fusion
    assert fusion is not None
    for card, load in ((network, partial(load_network, network)), (fusion, partial(load_fusion, fusion))):
        path = tmp_path / card.file
        whole = path.read_bytes()
        path.write_bytes(whole[:-100])
        said = (
            f"{path} ({len(whole) - 100} bytes) has SHA-256 {sha256(whole[:-100]).hexdigest()}, the registry "
            f"says {card.sha256}: truncated, damaged or of another version; restore the file from the release"
        )
        for use in (partial(load, tmp_path), partial(registry.verify, card), registry.verify_all):
            with pytest.raises(BadWeights) as raised:
                use()
            assert str(raised.value) == said
        path.write_bytes(whole)


def test_models_are_loaded_from_a_registry_that_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, read, names = with_fusion(both_weights(tmp_path)), Path.read_text, []

    def counting(path: Path, *args: Any, **kwargs: Any) -> str:
        names.append(path.name)
        return read(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", counting)
    models = load_models(folder, threads=1)
    for modality in models.cards:
        models.of(modality)
    assert models.fusion is not None
    models.fusion_network(models.fusion)
    assert sorted(names) == ["registry.json", "study_rule.json"]


def test_a_rule_for_a_model_that_is_not_listed_is_refused_when_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match=r"no model 'gone'.*it lists"):
        read_registry(write_weights(tmp_path, model="gone"))


def test_cards_can_be_read_before_there_are_rules_and_beside_an_outdated_fusion(tmp_path: Path) -> None:
    path = with_fusion(both_weights(tmp_path)) / "registry.json"
    path.write_text(path.read_text().replace('"MR": {"name": "random-MR"', '"MR": {"name": "another"'))
    with pytest.raises(BadWeights, match="train it again"):
        read_registry(tmp_path)
    (tmp_path / "study_rule.json").unlink()
    assert set(read_cards(tmp_path).cards) == {"random-CT", "random-MR"}


def test_a_card_is_written_as_it_was_read() -> None:
    folder = WorkerSettings().weights
    rows = json.loads((folder / "registry.json").read_text())["models"]
    assert json.dumps([as_row(card) for card in read_cards(folder).cards.values()]) == json.dumps(rows)
