"""The blocks of an evaluation: tumour, classes, localisation, grade; each figure with its interval."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.evaluation.bootstrap import with_intervals
from training.evaluation.cases import Case
from training.evaluation.metrics import (
    auc_pr,
    auc_roc,
    binary_counts,
    confusion_matrix,
    expected_calibration_error,
    f1_scores,
    kappa,
    mcc,
    ratio,
    threshold_at_sensitivity,
)

Block = dict[str, Any]
TUMOUR_LABELS, TUMOUR = ("benign", "malignant"), "tumour"
SENSITIVITY = 0.90  # at which the false-positive rate inside patients is reported


def tumour_block(cases: Sequence[Case], threshold: float) -> Block:
    """Tumour against none at a fixed threshold, overall, by source and inside patients."""
    known = [case for case in cases if case.row.tumour is not None]
    block: Block = {"threshold": threshold, **_tumour(known, threshold)}
    block["by_source"] = {name: _tumour(rows, threshold) for name, rows in _by_source(known).items()}
    block["against_healthy"] = _tumour(against_healthy(known), threshold)
    inside = within_patients(known)
    block["within_patients"] = {
        **_within(inside, threshold),
        "by_source": {name: _within(rows, threshold) for name, rows in _by_source(inside).items()},
    }
    return block


def sequence_block(single: Sequence[Case], threshold: float) -> Block:
    """Inside patients, for each grey image of slices that have several."""
    inside = within_patients([case for case in single if case.row.tumour is not None])
    names = sorted({case.sequence for case in inside})
    return {name: _within([c for c in inside if c.sequence == name], threshold) for name in names}


def within_patients(cases: Sequence[Case]) -> list[Case]:
    """Slices of patients with a tumour, with and without tumour on the slice (never the healthy)."""
    truths: dict[str, set[bool]] = defaultdict(set)
    for case in cases:
        truths[case.row.group].add(case.row.tumour is True)
    return [case for case in cases if len(truths[case.row.group]) == 2 and case.row.label != "healthy"]


def against_healthy(cases: Sequence[Case]) -> list[Case]:
    """Tumour slices and slices of healthy people, without the patients that ``within_patients`` judges."""
    inside = {case.row.group for case in within_patients(cases)}
    return [
        case
        for case in cases
        if case.row.group not in inside and (case.row.tumour or case.row.label == "healthy")
    ]


def class_block(cases: Sequence[Case], names: Sequence[str]) -> Block:
    """The model's classes on the slices whose label says which of them is true."""
    labelled = [case for case in cases if true_class(case, names) is not None]
    by_source = {name: _classes(rows, names) for name, rows in _by_source(labelled).items()}
    return {"names": list(names), **_classes(labelled, names), "by_source": by_source}


def true_class(case: Case, names: Sequence[str]) -> int | None:
    """Index of the true class; a model that does not tell tumours apart calls each of them a tumour."""
    label = case.row.label
    if label not in names and label in TUMOUR_LABELS:
        label = TUMOUR
    return names.index(label) if label in names else None


def localisation_block(cases: Sequence[Case], single: Sequence[Case] = ()) -> Block:
    """Decoder and Grad-CAM against the masks of the tumour slices, mean per slice.

    ``single``: each grey image of slices that have several, kept apart by sequence.
    """
    masked = [case for case in cases if case.localisation is not None]
    by_source = {name: _localisation(rows) for name, rows in _by_source(masked).items()}
    alone = [case for case in single if case.localisation is not None]
    names = sorted({case.sequence for case in alone})
    by_sequence = {name: _localisation([c for c in alone if c.sequence == name]) for name in names}
    return {**_localisation(masked), "by_source": by_source, "by_sequence": by_sequence}


def grade_block() -> Block:
    """No model here says a grade."""
    return {"n": 0, "auc_roc": None}


def _by_source(cases: Sequence[Case]) -> dict[str, list[Case]]:
    rows: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        rows[case.row.source].append(case)
    return dict(sorted(rows.items()))


def _tumour(cases: Sequence[Case], threshold: float) -> Block:
    truth, score = _arrays(cases)

    def figures(rows: NDArray[np.intp]) -> Mapping[str, float]:
        return binary_figures(truth[rows], score[rows], threshold)

    tp, fp, fn, tn = binary_counts(truth, score >= threshold)
    return {"n": len(cases), **with_intervals(figures, _series(cases)), "confusion": [[tn, fp], [fn, tp]]}


def binary_figures(
    truth: NDArray[np.bool_], score: NDArray[np.float64], threshold: float
) -> dict[str, float]:
    """Named figures of a probability against truth; nan where a figure is not defined."""
    tp, fp, fn, tn = binary_counts(truth, score >= threshold)
    return {
        "accuracy": ratio(tp + tn, len(truth)),
        "sensitivity": ratio(tp, tp + fn),
        "specificity": ratio(tn, tn + fp),
        "ppv": ratio(tp, tp + fp),
        "npv": ratio(tn, tn + fn),
        "f1": ratio(2 * tp, 2 * tp + fp + fn),
        "mcc": mcc(tp, fp, fn, tn),
        "kappa": kappa(np.array([[tn, fp], [fn, tp]])),
        "auc_roc": auc_roc(truth, score),
        "auc_pr": auc_pr(truth, score),
        "ece": expected_calibration_error(truth, score),
    }


def _within(cases: Sequence[Case], threshold: float) -> Block:
    truth, score = _arrays(cases)

    def figures(rows: NDArray[np.intp]) -> Mapping[str, float]:
        true, values = truth[rows], score[rows]
        point = threshold_at_sensitivity(true, values, SENSITIVITY)
        return {
            "auc_roc": auc_roc(true, values),
            "sensitivity": float(np.mean(values[true] >= threshold)) if true.any() else float("nan"),
            "false_positive_rate": ratio(float((values[~true] >= threshold).sum()), float((~true).sum())),
            "false_positive_rate_at_sensitivity_090": ratio(
                float((values[~true] >= point).sum()), float((~true).sum())
            ),
        }

    return {"n": len(cases), **with_intervals(figures, _series(cases))}


def _classes(cases: Sequence[Case], names: Sequence[str]) -> Block:
    truth = np.array([true_class(case, names) for case in cases], int)
    said = np.array([int(np.argmax(case.classes)) for case in cases], int)

    def figures(rows: NDArray[np.intp]) -> Mapping[str, float]:
        confusion = confusion_matrix(truth[rows], said[rows], len(names))
        present = confusion.sum(1) > 0
        scores = f1_scores(confusion)
        named = {f"f1_{name}": scores[k] if present[k] else float("nan") for k, name in enumerate(names)}
        occurring = [score for score, there in zip(scores, present, strict=True) if there]
        return {
            "accuracy": ratio(float(np.trace(confusion)), float(confusion.sum())),
            "macro_f1": float(np.mean(occurring)) if occurring else float("nan"),
            "kappa": kappa(confusion),
            **named,
        }

    confusion = confusion_matrix(truth, said, len(names)).tolist()
    return {"n": len(cases), **with_intervals(figures, _series(cases)), "confusion": confusion}


def _localisation(cases: Sequence[Case]) -> Block:
    rows = [case.localisation for case in cases if case.localisation is not None]
    names = list(rows[0]) if rows else []
    table = np.array([[row[name] for name in names] for row in rows]).reshape(len(rows), len(names))

    def figures(chosen: NDArray[np.intp]) -> Mapping[str, float]:
        return dict(zip(names, map(float, table[chosen].mean(0)), strict=True))

    flat = with_intervals(figures, _series(cases)) if rows else {}
    block: Block = {"n": len(cases), "decoder": {}, "grad_cam": {}}
    for name, value in flat.items():
        method, figure = name.split(".")
        block[method][figure] = value
    return block


def _arrays(cases: Sequence[Case]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    truth = np.array([case.row.tumour is True for case in cases], bool)
    return truth, np.array([case.tumour for case in cases], float)


def _series(cases: Sequence[Case]) -> list[str]:
    return [case.row.series for case in cases]
