"""Figures against values worked out by hand or by scikit-learn."""

import numpy as np
import pytest

from training.evaluation.metrics import (
    auc_pr,
    auc_roc,
    box_iou,
    box_of,
    dice,
    expected_calibration_error,
    iou,
    kappa,
    mcc,
    points_at,
    standing_out,
    threshold_at_sensitivity,
)

pytestmark = pytest.mark.unit


def test_scores_agree_with_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(0)
    truth = random.random(300) < 0.4
    score = np.round(random.random(300) + 0.4 * truth, 1)  # with ties
    assert auc_roc(truth, score) == pytest.approx(sklearn.roc_auc_score(truth, score))
    assert auc_pr(truth, score) == pytest.approx(sklearn.average_precision_score(truth, score))
    said = score >= 0.7
    confusion = sklearn.confusion_matrix(truth, said)
    (tn, fp), (fn, tp) = confusion
    assert mcc(int(tp), int(fp), int(fn), int(tn)) == pytest.approx(sklearn.matthews_corrcoef(truth, said))
    assert kappa(confusion) == pytest.approx(sklearn.cohen_kappa_score(truth, said))


def test_one_class_alone_has_no_auc() -> None:
    assert np.isnan(auc_roc([True, True], [0.1, 0.9]))
    assert np.isnan(auc_pr([False], [0.1]))


def test_the_threshold_reaches_the_sensitivity_and_no_higher_one_does() -> None:
    truth, score = np.array([True] * 10 + [False] * 3), np.arange(13) / 13
    threshold = threshold_at_sensitivity(truth, score, 0.9)
    assert (score[truth] >= threshold).mean() == 0.9


def test_calibration_error_is_the_gap_between_said_and_seen() -> None:
    assert expected_calibration_error([True, False], [0.95, 0.95]) == pytest.approx(0.45)
    assert expected_calibration_error([True] * 3 + [False], [0.75] * 4) == pytest.approx(0.0)


def test_overlap_of_masks_and_boxes() -> None:
    one, other = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
    one[0:4, 0:4], other[2:6, 0:4] = True, True
    assert dice(one, other) == pytest.approx(0.5)
    assert iou(one, other) == pytest.approx(1 / 3)
    assert box_of(other) == (0, 2, 4, 6)
    assert box_iou(box_of(one), box_of(other)) == pytest.approx(1 / 3)
    assert box_iou(box_of(np.zeros((3, 3), bool)), box_of(one)) == 0.0


def test_a_faint_lesion_stands_out_as_a_clear_one_does() -> None:
    lesion = np.zeros((10, 10), np.float32)
    lesion[2:5, 2:5], lesion[3, 3] = 0.6, 1.0
    assert standing_out(lesion, 0.5).sum() == standing_out(0.2 * lesion, 0.5).sum() == 9
    assert standing_out(lesion, 0.7).sum() == 1
    assert not standing_out(0 * lesion, 0.5).any()
    assert not standing_out(5e-10 * lesion, 0.45).any()


def test_the_pointing_game_allows_its_tolerance_and_no_more() -> None:
    truth, heat = np.zeros((50, 50), bool), np.zeros((50, 50))
    truth[10:15, 10:15], heat[14, 20] = True, 1.0
    assert points_at(heat, truth, tolerance_px=6)
    assert not points_at(heat, truth, tolerance_px=5)
