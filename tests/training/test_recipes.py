"""Each recipe from slices to an answer: trained for a moment, exported, verified, opened by the worker."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from neurotriage.cli.setup.weights import app as weights_command
from tests.conftest import ROOT
from tests.training.drawn import write_both
from tests.vision.synthetic import axial_head, ct_head, ood_limits
from training.__main__ import main
from training.data.manifest import read
from training.data.samples import CELL_SHARES, STORED_PX
from training.fit import recipes, train
from training.fit.augment import augmented
from training.fit.augment_ct import ct_augmented
from training.fit.models import MODELS
from training.fit.recipes import RECIPES, val_scores
from training.fit.settings import settings_from
from training.release.export import trained_px
from training.release.study_rule import first_rule, write
from training.synthetic_ct.samples import cell_shares
from worker.vision import BadWeights, analyse_volumes, load_models
from worker.vision.network import CLASSES_OF, MOBILENET_V2, SliceNet
from worker.vision.registry import read_cards
from worker.vision.registry.rule import RULE_FILE

INPUT_PX = 64


@dataclass(frozen=True, slots=True)
class Trained:
    """A model after a moment of training, in a weights folder of its own."""

    model: str
    manifest: Path
    run: Path
    weights: Path

    @property
    def modality(self) -> str:
        return MODELS[self.model].modality


def verify(weights: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The output of ``neurotriage weights verify`` on a folder; it must end with status 0."""
    monkeypatch.setenv("NEUROTRIAGE__WORKER__WEIGHTS", str(weights))
    ended = CliRunner().invoke(weights_command, ["verify"])
    assert ended.exit_code == 0, ended.output
    return ended.output


def train_and_export(model: str, folder: Path, *options: str) -> Trained:
    """Train for less than a second, export, and describe the features, by the steps of the command line."""
    made = Trained(model, write_both(folder), folder / "run", folder / "weights")
    made.weights.mkdir()
    common = ["--manifest", str(made.manifest), "--threads", "1"]
    px = ["--input-px", str(INPUT_PX), "--minutes", "0.001", "--small-share", "0", "--no-bf16"]
    main(["train", "--model", model, "--folder", str(made.run), "--init", "random", *px, *common, *options])
    best = made.run / "best.safetensors"
    where = ["--weights", str(made.weights)]
    main(["export", "--model", model, "--trained", str(best), "--version", "9", *common, *where])
    main(["feature-statistics", "--model", model, "--manifest", str(made.manifest), *where])
    return made


def decide(made: Trained) -> None:
    """A study rule by which the model decides, whatever it is shown."""
    card = read_cards(made.weights).card(made.model)
    rule = replace(first_rule(card, made.weights), **ood_limits(1e9), head_probability=0.0)
    write(made.weights / RULE_FILE, made.modality, rule, [])


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "JUNK_PICTURES", 11)
        patch.setattr(train, "BATCH", 8)
        yield


@pytest.fixture(scope="module")
def light(_small: None, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The lightest model, trained once; nobody writes into its weights folder."""
    made = train_and_export("light", tmp_path_factory.mktemp("light"))
    decide(made)
    return made


TEACHER = ("--teachers", "light", "--weights", str(ROOT / "weights"))  # of the release


def answers(made: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verified as an installation does it, opened as a worker does it, asked about a drawn head."""
    assert f"{made.model} 9 ({made.modality})" in verify(made.weights, monkeypatch)
    card = read_cards(made.weights).card(made.model)
    assert (card.input_px, card.architecture) == (INPUT_PX, MODELS[made.model].architecture)
    assert card.classes == CLASSES_OF[made.modality]
    assert {"tumour", "mask"} <= set(card.thresholds)
    assert ("look_alike" in card.thresholds) is (made.modality == "CT")
    models = load_models(made.weights, threads=1)
    head = ct_head() if made.modality == "CT" else axial_head(shape=(12, 40, 48))
    study, _ = analyse_volumes([head], models)
    said = {(prediction.model, prediction.version, prediction.sha256) for prediction in study.predictions}
    assert said == {(made.model, "9", card.sha256)}
    assert not study.degradations


def test_the_lightest_model_is_verified_and_answers(light: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(light, monkeypatch)


@pytest.mark.parametrize(
    ("model", "options"),
    [*((model, ()) for model in MODELS if model != "light"), ("light", TEACHER)],
    ids=[*(model for model in MODELS if model != "light"), "light, distilled"],
)
def test_a_trained_model_is_verified_and_answers(
    model: str, options: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = train_and_export(model, tmp_path, *options)
    decide(made)
    answers(made, monkeypatch)


def test_weights_that_were_changed_after_export_are_refused(
    light: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "weights"
    copytree(light.weights, weights)
    path = weights / "light.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadWeights, match="SHA-256"):
        load_models(weights, threads=1)
    monkeypatch.setenv("NEUROTRIAGE__WORKER__WEIGHTS", str(weights))
    assert CliRunner().invoke(weights_command, ["verify"]).exit_code == 1


def test_a_run_writes_a_log_the_best_weights_and_a_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "training")
    manifest, run = write_both(tmp_path), tmp_path / "run"
    options = ["--model", "light", "--folder", str(run), "--minutes", "0.001", "--input-px", "64"]
    train.main([*options, "--manifest", str(manifest), "--threads", "1", "--init", "random", "--no-bf16"])
    assert {path.name for path in run.iterdir()} >= {"best.safetensors", "checkpoint.safetensors"}
    assert trained_px(run / "best.safetensors") == 64
    assert any("val at" in line and "within" in line for line in caplog.messages)


def test_another_runs_checkpoint_ends_the_step_with_a_sentence(tmp_path: Path) -> None:
    manifest, run = write_both(tmp_path), tmp_path / "run"
    options = ["--folder", str(run), "--minutes", "0.001", "--input-px", "64", "--threads", "1", "--no-bf16"]
    common = [*options, "--init", "random", "--manifest", str(manifest)]
    train.main(["--model", "light", *common])
    with pytest.raises(SystemExit, match="model: light there, mr-teacher here"):
        train.main(["--model", "mr-teacher", *common])


def test_there_is_a_recipe_for_every_model() -> None:
    assert {subject.modality for subject in MODELS.values()} == set(RECIPES)


@pytest.mark.unit
def test_mr_is_trained_on_the_rows_of_a_manifest(tmp_path: Path) -> None:
    manifest = write_both(tmp_path)
    recipe = RECIPES["MR"](settings_from(["--manifest", str(manifest), "--input-px", "256"]))
    stored = recipe.stock(read(manifest, "MR").of_split("train"))
    assert len(stored.images) == 6
    assert stored.images.shape[-1] > STORED_PX, "as large as the input asks"
    assert recipe.cell_shares is CELL_SHARES
    assert recipe.augmented is augmented


@pytest.mark.unit
def test_ct_is_trained_with_and_without_masses_and_judged_on_other_slices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write_both(tmp_path)
    judged: list[tuple[Path, str]] = []
    monkeypatch.setattr(recipes, "held_apart", lambda path, split: judged.append((path, split)) or ())
    recipe = RECIPES["CT"](settings_from(["--manifest", str(manifest)]))
    assert judged == [(manifest, "val")]
    healthy = [row for row in read(manifest, "CT").of_split("train") if row.source == "headct-normal"]
    stored = recipe.stock(healthy)
    assert {kind for _, kind in stored.cells} >= {"plain", "mass"}
    assert recipe.cell_shares == cell_shares()
    assert recipe.augmented is ct_augmented


@pytest.mark.unit
def test_a_larger_ct_input_than_is_stored_is_said_to_gain_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipes, "held_apart", lambda *_: ())
    manifest = write_both(tmp_path)
    for input_px, lines in (("128", 0), ("256", 1)):
        caplog.clear()
        RECIPES["CT"](settings_from(["--manifest", str(manifest), "--input-px", input_px]))
        assert len([line for line in caplog.messages if "no more detail" in line]) == lines


def test_val_is_judged_inside_patients_across_sources_and_by_masks(tmp_path: Path) -> None:
    torch.manual_seed(0)
    rows = read(write_both(tmp_path), "MR").of_split("val")
    scores = val_scores(SliceNet(MOBILENET_V2).eval(), rows, INPUT_PX)
    assert list(scores) == ["within", "across", "dice"]
    assert all(0 <= value <= 1 for value in scores.values())
    assert np.isnan(val_scores(SliceNet(MOBILENET_V2).eval(), rows[:1], INPUT_PX)["within"])


def test_evaluate_of_an_exported_model_is_by_source(light: Trained, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    copytree(light.weights, weights)
    figures, plots = tmp_path / "figures.json", tmp_path / "plots"
    where = ["--manifest", str(light.manifest), "--weights", str(weights), "--split", "val"]
    main(["evaluate", "--model", "light", *where, "--json", str(figures), "--plots", str(plots)])
    report = json.loads(figures.read_text())
    assert (report["model"], report["split"], report["rows"]) == ("light", "val", 6)
    assert report["rows_of_other_modalities"] == 8
    assert {name: block["n"] for name, block in report["tumour"]["by_source"].items()} == {
        "lgg": 3,
        "nichart": 3,
    }
    assert report["localisation"]["n"] == 3
    assert len(list(plots.iterdir())) == 4
    main(["card", "--figures", str(figures), "--training", "a moment", "--weights", str(weights)])
    card = (weights / "light.md").read_text()
    assert "| nichart | 3 |" in card
    assert "Training: a moment" in card
    report["sha256"] = "of other weights"
    figures.write_text(json.dumps(report))
    with pytest.raises(SystemExit, match="measured on other weights"):
        main(["card", "--figures", str(figures), "--training", "a moment", "--weights", str(weights)])
