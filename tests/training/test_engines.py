"""``python -m training engines``: int8 is held against labels, and the worker finds what was chosen."""

import json
from pathlib import Path

import pytest

from tests.training.conftest import write_manifest
from tests.vision.synthetic import write_weights
from training.__main__ import main
from worker.vision.engines import ONNX_INT8, TORCH, EngineUnavailable, read_choice
from worker.vision.registry import read_cards


def test_engines_are_measured_on_labelled_slices_and_the_choice_lies_where_the_worker_looks(
    tmp_path: Path,
    toy: list[dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def none_of_onnx(*_: object) -> None:
        raise EngineUnavailable("left out of this test: making its file takes long")

    monkeypatch.setattr("worker.vision.engines.opening.export_onnx", none_of_onnx)
    monkeypatch.setenv("NEUROTRIAGE_CONFIG", "/dev/null")
    monkeypatch.setenv("NEUROTRIAGE__WORKER__THREADS", "1")
    monkeypatch.setenv("NEUROTRIAGE__STORAGE__ROOT", str(tmp_path / "storage"))
    folder = tmp_path / "weights"
    folder.mkdir()
    write_weights(folder)
    (folder / "study_rule.json").unlink()  # a model may be measured before there is a rule for it
    for row in toy:
        row["split"] = "val" if row["group"] in ("person0", "person3", "patient") else "train"
    manifest = write_manifest(tmp_path, toy)
    main(["engines", "--manifest", str(manifest), "--model", "random", "--weights", str(folder)])
    measured = {row["engine"]: row for row in json.loads(capsys.readouterr().out)["measured"]}
    assert measured[TORCH]["auc_loss"] == 0
    assert "left out of this test" in measured[ONNX_INT8]["problem"]
    kept = read_choice(tmp_path / "storage" / "engines", read_cards(folder).card("random").sha256, 1)
    assert kept is not None
    assert kept.measured[0].auc_loss == 0
