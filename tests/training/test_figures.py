"""The blocks of an evaluation: by source, inside patients, classes, maps; and their plots."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.drawn import row
from training.evaluation.cases import Case, Cases, probability
from training.evaluation.figures import (
    against_healthy,
    class_block,
    localisation_block,
    sequence_block,
    true_class,
    tumour_block,
    within_patients,
)
from training.evaluation.metrics import confusion_matrix, f1_scores
from training.evaluation.plots import plot
from worker.vision.network import CLASSES, CT_CLASSES
from worker.vision.registry.registry import ModelCard

pytestmark = pytest.mark.unit


def case(
    tumour: bool | None,
    score: float = 0.5,
    *,
    group: str = "p",
    source: str = "a",
    label: str = "unknown",
    says: int = 0,
    sequence: str = "T1",
    places: dict[str, float] | None = None,
) -> Case:
    """A slice of which a network says a probability and a class."""
    classes = np.full(3, 0.1)
    classes[says] = 0.8
    of = row(f"{group}.png", tumour=tumour, group=group, series=group, source=source, label=label)
    return Case(of, sequence, score, classes, 1.0, places)


def test_each_source_is_judged_by_itself() -> None:
    good = [case(True, 0.9, source="a"), case(False, 0.1, source="a")]
    bad = [case(True, 0.2, source="b"), case(False, 0.8, source="b")]
    block = tumour_block([*bad, *good], 0.5)
    assert list(block["by_source"]) == ["a", "b"]
    assert [block["by_source"][name]["auc_roc"]["value"] for name in "ab"] == [1.0, 0.0]
    assert block["by_source"]["a"]["confusion"] == [[1, 0], [0, 1]]
    assert block["by_source"]["b"]["confusion"] == [[0, 1], [1, 0]]
    assert block["confusion"] == [[1, 1], [1, 1]]
    assert block["auc_roc"]["value"] == 0.75


def test_figures_are_those_of_the_threshold() -> None:
    scores = [(True, 0.9), (True, 0.6), (True, 0.3), (False, 0.7), (False, 0.2), (False, 0.1), (False, 0.0)]
    block = tumour_block([case(truth, score) for truth, score in scores], 0.5)
    assert block["threshold"] == 0.5
    assert block["confusion"] == [[3, 1], [1, 2]]
    by_hand = {"sensitivity": 2 / 3, "specificity": 3 / 4, "ppv": 2 / 3, "npv": 3 / 4, "accuracy": 5 / 7}
    for name, value in {**by_hand, "f1": 4 / 6}.items():
        assert block[name]["value"] == pytest.approx(value), name
    at_the_edge = tumour_block([case(True, 0.5), case(False, 0.4)], 0.5)
    assert at_the_edge["sensitivity"]["value"] == 1.0, "a score at the threshold is positive"


def test_slices_of_unknown_truth_are_not_counted() -> None:
    assert tumour_block([case(None, 0.9), case(True, 0.9), case(False, 0.1)], 0.5)["n"] == 2


PATIENT = [
    case(True, 0.9, group="ill"),
    case(False, 0.4, group="ill"),
    case(True, 0.8, group="only tumour"),
    case(False, 0.1, group="well", label="healthy"),
    case(False, 0.2, group="no label"),
]


def test_inside_patients_are_those_with_slices_of_both_kinds() -> None:
    assert {c.row.group for c in within_patients(PATIENT)} == {"ill"}


def test_against_healthy_people_are_the_other_patients() -> None:
    assert {c.row.group for c in against_healthy(PATIENT)} == {"only tumour", "well"}


def test_no_slice_is_judged_inside_a_patient_and_against_the_healthy() -> None:
    both = {id(c) for c in within_patients(PATIENT)} & {id(c) for c in against_healthy(PATIENT)}
    assert not both


def test_false_positives_inside_patients_are_counted_at_a_sensitivity_of_90_percent() -> None:
    ill = [case(True, score / 10, group="p") for score in range(1, 11)]  # 0.1 to 1.0: nine reach 0.2
    free = [case(False, score, group="p") for score in (0.05, 0.15, 0.25, 0.95)]
    block = tumour_block([*ill, *free], 0.5)["within_patients"]
    assert block["false_positive_rate_at_sensitivity_090"]["value"] == 0.5
    assert block["false_positive_rate"]["value"] == 0.25
    assert block["sensitivity"]["value"] == 0.6


def test_each_sequence_is_judged_inside_patients() -> None:
    single = [case(t, s, sequence=q) for q, s in (("T1", 0.9), ("FLAIR", 0.1)) for t in (True, False)]
    block = sequence_block(single, 0.5)
    assert list(block) == ["FLAIR", "T1"]
    assert block["T1"]["sensitivity"]["value"] == 1.0
    assert block["FLAIR"]["sensitivity"]["value"] == 0.0


def test_classes_are_counted_by_truth_and_answer() -> None:
    truths_and_answers = [("healthy", 0), ("healthy", 0), ("benign", 2), ("malignant", 2), ("unknown", 1)]
    block = class_block([case(None, label=label, says=says) for label, says in truths_and_answers], CLASSES)
    assert block["n"] == 4
    assert block["confusion"] == [[2, 0, 0], [0, 0, 1], [0, 0, 1]]
    assert block["accuracy"]["value"] == pytest.approx(3 / 4)
    assert block["f1_healthy"]["value"] == 1.0
    assert block["f1_benign"]["value"] == 0.0
    assert block["macro_f1"]["value"] == pytest.approx((1 + 0 + 2 / 3) / 3)


def test_a_class_that_does_not_occur_has_no_figure_and_does_not_lower_the_mean() -> None:
    block = class_block([case(None, label="healthy"), case(None, label="malignant", says=2)], CLASSES)
    assert block["f1_benign"] is None
    assert block["macro_f1"]["value"] == 1.0


@pytest.mark.parametrize(
    ("label", "names", "index"),
    [
        ("benign", CLASSES, 1),
        ("benign", CT_CLASSES, 2),
        ("malignant", CT_CLASSES, 2),
        ("look_alike", CT_CLASSES, 1),
        ("unknown", CLASSES, None),
        ("stroke", CT_CLASSES, None),
    ],
)
def test_a_label_is_one_of_the_models_classes_or_none(
    label: str, names: tuple[str, ...], index: int | None
) -> None:
    assert true_class(case(None, label=label), names) == index


def test_maps_are_averaged_over_the_slices_with_a_lesion() -> None:
    dices = [{"decoder.dice": value, "grad_cam.dice": value / 2} for value in (0.4, 0.8)]
    judged = [*(case(True, places=figures, source="b") for figures in dices), case(True)]
    alone = [case(True, places=dices[0], sequence="T1"), case(True, places=dices[1], sequence="FLAIR")]
    block = localisation_block(judged, alone)
    assert block["n"] == 2
    assert block["decoder"]["dice"]["value"] == pytest.approx(0.6)
    assert block["grad_cam"]["dice"]["value"] == pytest.approx(0.3)
    assert block["by_source"]["b"]["n"] == 2
    assert {name: part["decoder"]["dice"]["value"] for name, part in block["by_sequence"].items()} == {
        "FLAIR": 0.8,
        "T1": 0.4,
    }


def test_a_confusion_matrix_holds_every_case_once() -> None:
    random = np.random.default_rng(0)
    truth, said = random.integers(0, 3, (2, 50))
    matrix = confusion_matrix(truth, said, 3)
    assert matrix.sum() == 50
    assert matrix.sum(1).tolist() == np.bincount(truth, minlength=3).tolist()
    sklearn = pytest.importorskip("sklearn.metrics")
    assert matrix.tolist() == sklearn.confusion_matrix(truth, said).tolist()
    assert f1_scores(matrix) == pytest.approx(sklearn.f1_score(truth, said, average=None).tolist())


def test_a_probability_is_calibrated_by_its_temperature() -> None:
    assert probability(0.0, 3.0) == 0.5
    assert probability(2.0, 2.0) == pytest.approx(1 / (1 + np.exp(-1)))
    assert 0 <= probability(-800.0, 0.25) < 1e-300


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


@pytest.mark.parametrize(
    "cases",
    [
        [case(bool(n % 2), n / 20, label=CLASSES[n % 3], says=n % 3) for n in range(20)],
        [case(None)],
    ],
    ids=["many", "nothing known"],
)
def test_plots_write_their_files(cases: list[Case], tmp_path: Path) -> None:
    plot(Cases(tuple(cases), ()), CARD, tmp_path / "plots")
    files = sorted((tmp_path / "plots").iterdir())
    assert [path.name for path in files] == [
        "calibration.png",
        "confusion.png",
        "precision_recall.png",
        "roc.png",
    ]
    for path in files:
        with Image.open(path) as picture:
            assert picture.size == (600, 600)
            assert len(np.unique(np.asarray(picture.convert("L")))) > 5, "something is drawn"
