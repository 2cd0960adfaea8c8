"""Any manifest can be evaluated; figures carry intervals over groups, and what is unknown is null."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.conftest import write_manifest
from training.data.manifest import Row, grey_images, read
from training.evaluation.bootstrap import with_intervals
from training.evaluation.cases import cases
from training.evaluation.figures import class_block
from training.evaluation.predict import CasePrediction, combined, predictions
from training.evaluation.slices import evaluate
from training.release.calibrate import calibrate, platt
from worker.vision.network import CLASSES, CT_CLASSES, SliceNet
from worker.vision.registry import ModelCard

CARD = ModelCard(
    name="toy",
    version="1",
    file="toy.safetensors",
    sha256="",
    modality="MR",
    input_px=64,
    temperature=1.0,
    thresholds={"tumour": 0.5, "mask": 0.5},
    classes=CLASSES,
)


def oracle(rows: Sequence[Row]) -> list[CasePrediction]:
    """A network that knows the answer: logits and maps from the truth."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    answers = []
    for answer in predictions(SliceNet().eval(), rows, input_px=64):
        sign = 1.0 if answer.row.tumour else -1.0
        mask = np.full((16, 16), -9.0, np.float32)
        mask[5:8, 4:8] = 9.0 * sign
        heat = (mask > 0).astype(np.float32)
        answers.append(replace(answer, tumour=3.0 * sign, mask=mask, cam=heat))
    return answers


def report(path: Path) -> dict[str, Any]:
    manifest = read(path, "MR")
    judged = cases(oracle(manifest.rows), CARD)
    return json.loads(json.dumps(evaluate(judged, CARD, manifest, None), allow_nan=False))  # type: ignore[no-any-return]


def test_a_perfect_answer_gets_perfect_figures(tmp_path: Path, toy: list[dict[str, str]]) -> None:
    figures = report(write_manifest(tmp_path, toy))
    tumour = figures["tumour"]
    assert tumour["n"] == figures["rows"] == 12
    assert figures["rows_of_other_modalities"] == 1
    assert tumour["auc_roc"] == {"value": 1.0, "low": 1.0, "high": 1.0, "n_groups": 11}
    assert tumour["confusion"] == [[6, 0], [0, 6]]
    assert figures["localisation"]["n"] == 6
    assert figures["localisation"]["decoder"]["pointing"]["value"] == 1.0
    assert figures["localisation"]["grad_cam"]["dice"]["value"] > 0.3
    assert figures["grade"] == {"n": 0, "auc_roc": None}


def test_a_model_that_does_not_tell_tumours_apart_is_asked_for_a_tumour(
    tmp_path: Path, toy: list[dict[str, str]]
) -> None:
    rows = read(write_manifest(tmp_path, toy), "MR").rows
    for names in (CT_CLASSES, CLASSES):
        block = class_block(cases(oracle(rows), CARD).slices, names)
        assert (block["names"], len(block["confusion"])) == (list(names), 3)
        counts = dict(zip(names, map(sum, block["confusion"]), strict=True))
        labels = [row.label for row in rows]
        tumours = labels.count("benign") + labels.count("malignant")
        assert counts["healthy"] == labels.count("healthy") > 0
        assert counts.get("tumour", counts.get("benign", 0) + counts.get("malignant", 0)) == tumours > 0
        assert counts.get("look_alike", 0) == 0


def test_slices_of_one_patient_with_and_without_tumour_are_judged_apart(
    tmp_path: Path, toy: list[dict[str, str]]
) -> None:
    tumour = report(write_manifest(tmp_path, toy))["tumour"]
    within = tumour["within_patients"]
    assert tumour["against_healthy"]["n"] == 10
    assert within["n"] == 2
    assert set(within["by_source"]) == {"lgg"}
    assert within["auc_roc"]["low"] is None  # one group says nothing of the spread
    assert {name: block["n"] for name, block in within["by_sequence"].items()} == {"FLAIR": 2, "T1": 2}


def test_outlines_are_told_for_each_sequence_alone_and_for_their_combination(
    tmp_path: Path, toy: list[dict[str, str]]
) -> None:
    places = report(write_manifest(tmp_path, toy))["localisation"]
    several = places["by_source"]["lgg"]["n"]
    assert several > 0
    assert {name: block["n"] for name, block in places["by_sequence"].items()} == {
        "FLAIR": several,
        "T1": several,
    }
    assert {"dice", "mask_iou"} <= places["by_sequence"]["T1"]["decoder"].keys()


def test_missing_columns_make_figures_null(tmp_path: Path, toy: list[dict[str, str]]) -> None:
    figures = report(write_manifest(tmp_path, toy[:8], columns=("path", "tumour")))
    assert figures["classes"]["n"] == figures["localisation"]["n"] == 0
    assert figures["classes"]["macro_f1"] is None
    assert figures["tumour"]["auc_roc"]["value"] == 1.0
    figures = report(write_manifest(tmp_path, toy[:8], columns=("path",)))
    assert figures["tumour"]["n"] == 0
    assert figures["tumour"]["auc_roc"] is None


def test_a_group_in_two_splits_is_refused(tmp_path: Path, toy: list[dict[str, str]]) -> None:
    toy[10]["split"] = "train"
    with pytest.raises(ValueError, match="patient"):
        read(write_manifest(tmp_path, toy), "MR")


def test_a_file_of_several_grey_images_gives_each_once(tmp_path: Path, toy: list[dict[str, str]]) -> None:
    row = read(write_manifest(tmp_path, toy), "MR").rows[10]
    images = dict(grey_images(row))
    assert list(images) == ["T1", "FLAIR"]
    assert images["T1"].max() > images["FLAIR"].max()


def test_maps_of_the_image_that_shows_the_tumour_count_most(
    tmp_path: Path, toy: list[dict[str, str]]
) -> None:
    answer = oracle(read(write_manifest(tmp_path, toy), "MR").rows)[0]
    maps = {logit: np.full_like(answer.mask, logit) for logit in (-6.0, 6.0)}
    images = [replace(answer, tumour=logit, mask=mask, cam=mask) for logit, mask in maps.items()]
    one = combined(images)
    assert one.mask.mean() > 5
    assert one.cam.mean() > 5
    assert combined(images[:1] * 2).mask.mean() == -6
    hopeless = replace(images[0], tumour=-800.0)  # whose probability is 0 in double precision
    assert combined([hopeless, hopeless]).mask.mean() == -6


def test_the_bootstrap_draws_whole_groups() -> None:
    values = np.array([0.0] * 50 + [1.0] * 50)
    groups = [f"g{index // 10}" for index in range(100)]
    figure = with_intervals(lambda rows: {"mean": float(values[rows].mean())}, groups)["mean"]
    assert figure["n_groups"] == 10
    assert figure["high"] - figure["low"] > 0.4  # ten units, not a hundred


def test_calibration_is_fit_on_the_answers_it_is_given(tmp_path: Path, toy: list[dict[str, str]]) -> None:
    rows = read(write_manifest(tmp_path, toy), "MR").rows
    answers = oracle(rows)
    fixed = calibrate(answers)
    assert fixed.temperature < 1  # every answer is right, so they may be surer
    positives = 1 / (1 + np.exp(-(3.0 + fixed.shift) / fixed.temperature))
    assert fixed.thresholds["tumour"] <= positives
    assert 0 < fixed.thresholds["mask"] < 1


def test_calibration_takes_a_shift_and_a_temperature_back() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, 20_000)
    truth = random.random(20_000) < 1 / (1 + np.exp(-(logits - 0.7) / 0.5))
    shift, temperature = platt(truth, logits)
    assert shift == pytest.approx(-0.7, abs=0.05)
    assert temperature == pytest.approx(0.5, abs=0.05)
