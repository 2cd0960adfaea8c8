"""CT export and card: operating points keep their promise, synthetic figures are called so."""

import json

import numpy as np
import pytest

from training.calibrate import MASK_LEVELS
from training.ct_card import written
from training.ct_evaluate import CtScores, report
from training.ct_export import LOOK_ALIKE_SENSITIVITY, TUMOUR_SENSITIVITY, thresholds
from training.ct_hosts import host
from training.ct_samples import LOOK_ALIKE, CtCase
from worker.vision.network import CT_CLASSES
from worker.vision.registry import ModelCard

pytestmark = pytest.mark.unit


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
    classes[:, LOOK_ALIKE] += 0.3 * alike + random.normal(0, 0.1, len(cases))
    overlap = np.where(ill[:, None], np.linspace(0.2, 0.6, len(MASK_LEVELS)), np.nan)
    return CtScores(tuple(cases), 2.0 * ill + random.normal(size=len(cases)), classes, overlap)


@pytest.fixture
def card(found: CtScores) -> ModelCard:
    return ModelCard(
        "ct-teacher", "0", "ct.safetensors", "ab", "CT", 128, 1.0, thresholds(found, 1.0), CT_CLASSES
    )


def test_operating_points_reach_their_sensitivities(found: CtScores) -> None:
    points = thresholds(found, 1.0)
    probability = 1 / (1 + np.exp(-found.tumour[found.of("mass")]))
    assert np.mean(probability >= points["tumour"]) >= TUMOUR_SENSITIVITY
    alike = found.classes[found.of("look_alike"), LOOK_ALIKE]
    assert np.mean(alike >= points["look_alike"]) >= LOOK_ALIKE_SENSITIVITY
    assert points["mask"] == MASK_LEVELS[-1]  # the level with the best Dice


def test_the_card_shows_every_figure_and_calls_synthetic_ones_synthetic(
    found: CtScores, card: ModelCard
) -> None:
    figures = json.loads(json.dumps({"split": "val", **report(found, card)}))
    text = written(card, [figures], "ten minutes")
    assert "| synthetic_with_against_without_auc: source1 |" in text
    assert "not clinically validated" in text
    assert "ten minutes" in text
