"""Figures of a binary score, of classes and of masks, as plain functions of arrays.

Not scikit-learn's, for two reasons: the step ``engines`` measures with these on installations, which have no
scikit-learn; and a figure that the labels do not define is nan here, which the intervals leave out; in
scikit-learn 1.9 it is nan with a warning (AUC, kappa), 0 (average precision, Matthews) or a ValueError (AUC
without cases). Where both define a figure, tests hold them equal.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

ECE_BINS = 10
# Shares of a map's maximum that are tried as the edge of a lesion.
MASK_SHARES = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)
FAINTEST = 1e-9  # a map below it stands out nowhere


def auc_roc(truth: ArrayLike, score: ArrayLike) -> float:
    """Area under the ROC curve: the share of (positive, negative) pairs in right order; nan without both.

    By ranks, ties count half (Hanley and McNeil, Radiology 1982).
    """
    true = np.asarray(truth, bool)
    positives, negatives = int(true.sum()), int((~true).sum())
    if positives == 0 or negatives == 0:
        return float("nan")
    ranks = rankdata(np.asarray(score, float))
    return float((ranks[true].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def auc_pr(truth: ArrayLike, score: ArrayLike) -> float:
    """Average precision: precision summed over the steps of recall; nan without positives."""
    true, values = np.asarray(truth, bool), np.asarray(score, float)
    if not true.any():
        return float("nan")
    order = np.argsort(-values, kind="stable")
    hits = np.cumsum(true[order])
    last = np.append(np.diff(values[order]) != 0, True)  # ties are one step
    precision, recall = (hits / np.arange(1, len(hits) + 1))[last], (hits / hits[-1])[last]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def binary_counts(truth: ArrayLike, positive: ArrayLike) -> tuple[int, int, int, int]:
    """True positives, false positives, false negatives, true negatives of (n,) truths and answers."""
    true, said = np.asarray(truth, bool), np.asarray(positive, bool)
    return (
        int((true & said).sum()),
        int((~true & said).sum()),
        int((true & ~said).sum()),
        int((~true & ~said).sum()),
    )


def ratio(part: float, whole: float) -> float:
    """part / whole, nan where whole is 0."""
    return part / whole if whole else float("nan")


def mcc(tp: int, fp: int, fn: int, tn: int) -> float:
    """Matthews' correlation coefficient (Biochim. Biophys. Acta 1975); nan where a margin is empty."""
    product = float(tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return ratio(tp * tn - fp * fn, product**0.5)


def expected_calibration_error(truth: ArrayLike, probability: ArrayLike) -> float:
    """Mean gap between probability and frequency over ten equal bins (Guo et al., ICML 2017)."""
    true, p = np.asarray(truth, float), np.asarray(probability, float)
    if len(p) == 0:
        return float("nan")
    bins = np.minimum((p * ECE_BINS).astype(int), ECE_BINS - 1)
    gaps = [abs(p[bins == b].sum() - true[bins == b].sum()) for b in range(ECE_BINS)]
    return float(sum(gaps) / len(p))


def kappa(confusion: NDArray[np.integer]) -> float:
    """Cohen's kappa (Educ. Psychol. Meas. 1960) of counts (truth, said).

    nan where there are none, or where all are agreement on one class.
    """
    total = confusion.sum()
    if total == 0:
        return float("nan")
    agreed = np.trace(confusion) / total
    chance = float((confusion.sum(0) * confusion.sum(1)).sum()) / float(total) ** 2
    return ratio(agreed - chance, 1 - chance)


def confusion_matrix(truth: ArrayLike, said: ArrayLike, classes: int) -> NDArray[np.int64]:
    """(classes, classes) counts, rows truth, columns said."""
    matrix = np.zeros((classes, classes), np.int64)
    np.add.at(matrix, (np.asarray(truth, int), np.asarray(said, int)), 1)
    return matrix


def f1_scores(confusion: NDArray[np.integer]) -> list[float]:
    """F1 of each class; nan for a class that occurs neither in truth nor in what was said."""
    margins = confusion.sum(0) + confusion.sum(1)
    return [ratio(2.0 * confusion[k, k], float(margins[k])) for k in range(len(confusion))]


def threshold_at_sensitivity(truth: ArrayLike, score: ArrayLike, sensitivity: float) -> float:
    """The highest threshold that reaches a sensitivity; nan without positives.

    A score is positive from the threshold on.
    """
    positives = np.sort(np.asarray(score, float)[np.asarray(truth, bool)])[::-1]
    if len(positives) == 0:
        return float("nan")
    return float(positives[max(0, int(np.ceil(sensitivity * len(positives))) - 1)])


def dice(said: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Twice the overlap over the sum of both areas (Dice, Ecology 1945); 1 where both are empty."""
    both = int(said.sum()) + int(truth.sum())
    return 2.0 * int((said & truth).sum()) / both if both else 1.0


def iou(said: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Overlap over union; 1 where both are empty."""
    union = int((said | truth).sum())
    return int((said & truth).sum()) / union if union else 1.0


def box_of(mask: NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """x0, y0, x1, y1 (end exclusive) of a mask, None where it is empty."""
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    if len(rows) == 0:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def box_iou(first: Sequence[int] | None, second: Sequence[int] | None) -> float:
    """Intersection over union of two boxes; 0 where one is missing."""
    if first is None or second is None:
        return 0.0
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(0, width) * max(0, height)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return ratio(shared, areas - shared)


def standing_out(heat: NDArray[np.floating], share: float) -> NDArray[np.bool_]:
    """Pixels of a map above a share of its own maximum, so that faint lesions are outlined as clear ones are.

    Of the map's shape; nothing stands out of a map whose maximum is below FAINTEST.
    """
    highest = float(heat.max())
    return np.asarray(heat > (share * highest if highest >= FAINTEST else np.inf))


def points_at(heat: NDArray[np.floating], truth: NDArray[np.bool_], tolerance_px: float) -> bool:
    """Pointing game (Zhang et al., ECCV 2016): the map's maximum lies within tolerance of the lesion.

    Raises ValueError where ``truth`` is empty.
    """
    row, column = np.unravel_index(int(np.argmax(heat)), heat.shape)
    rows, columns = np.nonzero(truth)
    return bool(np.min(np.hypot(rows - row, columns - column)) <= tolerance_px)
