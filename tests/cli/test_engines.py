"""``neurotriage engines`` and ``weights``: measured on this host, verified by answers."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from neurotriage.cli import app
from tests.vision.synthetic import write_weights
from tests.vision.test_fusion import both_weights, with_fusion
from training.release.export import enter
from worker.vision.engines import ENGINES, EngineUnavailable, read_choice
from worker.vision.registry import read_cards


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A weights folder with one model and its stored answers, in the configuration."""
    folder = write_weights(tmp_path)
    enter(read_cards(folder).card("random"), folder)
    monkeypatch.setenv("NEUROTRIAGE_CONFIG", "/dev/null")
    monkeypatch.setenv("NEUROTRIAGE__WORKER__WEIGHTS", str(folder))
    monkeypatch.setenv("NEUROTRIAGE__WORKER__THREADS", "1")
    monkeypatch.setenv("NEUROTRIAGE__STORAGE__ROOT", str(tmp_path / "storage"))
    return folder


def test_the_table_shows_every_engine_and_the_choice_is_kept(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_of_onnx(*_: object) -> None:
        raise EngineUnavailable("left out of this test: making its file takes long")

    monkeypatch.setattr("worker.vision.engines.opening.export_onnx", none_of_onnx)
    monkeypatch.setenv("COLUMNS", "200")
    done = CliRunner().invoke(app, ["engines"])
    assert done.exit_code == 0, done.output
    assert all(name in done.output for name in ENGINES)
    assert "chosen" in done.output
    assert "python -m training engines" in done.output  # what int8 lacks
    sha256 = read_cards(weights).card("random").sha256
    kept = read_choice(tmp_path / "storage" / "engines", sha256, 1)
    assert kept is not None
    assert kept.engine in set(ENGINES) - {"onnxruntime-int8"}  # that one is chosen by training alone


def test_a_model_that_answers_otherwise_than_at_its_export_is_not_verified(weights: Path) -> None:
    assert CliRunner().invoke(app, ["weights", "verify"]).exit_code == 0
    path = weights / "registry.json"
    document = json.loads(path.read_text())
    document["models"][0]["answers"]["tumour"][1] += 0.1
    path.write_text(json.dumps(document))
    done = CliRunner().invoke(app, ["weights", "verify"])
    assert done.exit_code == 1
    assert "does not answer as it did" in done.output
    del document["models"][0]["answers"]
    path.write_text(json.dumps(document))
    assert "no answers" in CliRunner().invoke(app, ["weights", "verify"]).output


def test_a_fusion_that_answers_otherwise_than_at_its_export_is_not_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = both_weights(tmp_path)
    for name in ("random-CT", "random-MR"):
        enter(read_cards(folder).card(name), folder)
    with_fusion(folder)
    monkeypatch.setenv("NEUROTRIAGE_CONFIG", "/dev/null")
    monkeypatch.setenv("NEUROTRIAGE__WORKER__WEIGHTS", str(folder))
    done = CliRunner().invoke(app, ["weights", "verify"])
    assert done.exit_code == 0, done.output
    assert "fusion 0 (CT+MR)" in done.output
    path = folder / "registry.json"
    document = json.loads(path.read_text())
    document["fusion"]["answers"]["classes"][1] += 0.1
    path.write_text(json.dumps(document))
    done = CliRunner().invoke(app, ["weights", "verify"])
    assert done.exit_code == 1
    assert "model fusion does not answer as it did" in done.output
