"""Plots of an evaluation: ROC, precision and recall, calibration, confusion."""

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from training.evaluation.cases import Cases
from training.evaluation.figures import true_class
from training.evaluation.metrics import ECE_BINS, confusion_matrix
from worker.vision.registry import ModelCard

mpl.use("Agg")
SIDE_INCHES = 5.0


def plot(judged: Cases, card: ModelCard, folder: Path) -> None:
    """Write ``roc.png``, ``precision_recall.png``, ``calibration.png`` and ``confusion.png``."""
    folder.mkdir(parents=True, exist_ok=True)
    known = [case for case in judged.slices if case.row.tumour is not None]
    truth = np.array([case.row.tumour is True for case in known], bool)
    score = np.array([case.tumour for case in known], float)
    _saved(folder / "roc.png", lambda axes: _roc(axes, truth, score), card)
    _saved(folder / "precision_recall.png", lambda axes: _precision_recall(axes, truth, score), card)
    _saved(folder / "calibration.png", lambda axes: _calibration(axes, truth, score), card)
    _saved(folder / "confusion.png", lambda axes: _confusion(axes, judged, card.classes), card)


def _saved(path: Path, draw: Callable[[Axes], None], card: ModelCard) -> None:
    figure = Figure(figsize=(SIDE_INCHES, SIDE_INCHES), layout="constrained")
    axes = figure.add_subplot()
    draw(axes)
    axes.set_title(f"{card.name} {card.version}")
    figure.savefig(path, dpi=120)


def _counts(
    truth: NDArray[np.bool_], score: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """True and false positives as the threshold falls."""
    hits = truth[np.argsort(-score, kind="stable")]
    return np.cumsum(hits), np.cumsum(~hits)


def _roc(axes: Axes, truth: NDArray[np.bool_], score: NDArray[np.float64]) -> None:
    tp, fp = _counts(truth, score)
    axes.plot(fp / max(1, (~truth).sum()), tp / max(1, truth.sum()))
    axes.set(xlabel="false positive rate", ylabel="sensitivity", xlim=(0, 1), ylim=(0, 1))


def _precision_recall(axes: Axes, truth: NDArray[np.bool_], score: NDArray[np.float64]) -> None:
    tp, fp = _counts(truth, score)
    axes.plot(tp / max(1, truth.sum()), tp / np.maximum(1, tp + fp))
    axes.set(xlabel="sensitivity", ylabel="positive predictive value", xlim=(0, 1), ylim=(0, 1))


def _calibration(axes: Axes, truth: NDArray[np.bool_], score: NDArray[np.float64]) -> None:
    bins = np.minimum((score * ECE_BINS).astype(int), ECE_BINS - 1)
    filled = [b for b in range(ECE_BINS) if (bins == b).any()]
    axes.plot([0, 1], [0, 1], linestyle=":")
    axes.plot([score[bins == b].mean() for b in filled], [truth[bins == b].mean() for b in filled], "o-")
    axes.set(xlabel="probability", ylabel="share with tumour", xlim=(0, 1), ylim=(0, 1))


def _confusion(axes: Axes, judged: Cases, names: Sequence[str]) -> None:
    labelled = [(true, case) for case in judged.slices if (true := true_class(case, names)) is not None]
    said = [int(np.argmax(case.classes)) for _, case in labelled]
    matrix = confusion_matrix([true for true, _ in labelled], said, len(names))
    axes.imshow(matrix, cmap="Blues")
    for row, column in np.ndindex(matrix.shape):
        axes.text(column, row, str(matrix[row, column]), ha="center", va="center")
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="said", ylabel="truth")
