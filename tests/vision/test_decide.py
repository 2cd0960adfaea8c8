"""The table from slice scores to outcome."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from neurotriage.core.settings import WorkerSettings
from neurotriage.core.values import Outcome, Reason, ReasonCode, Triage
from tests.vision.synthetic import axial_head, ct_head, predictions, rule
from worker.vision import read_registry
from worker.vision.network import CLASSES, CT_CLASSES
from worker.vision.series.decide import (
    SeriesScore,
    agrees,
    applied_threshold,
    cam_peak_share,
    decide_series,
    decide_study,
    score_series,
    series_classes,
    slice_weights,
    triage_of,
)
from worker.vision.series.findings import Lesion
from worker.vision.series.predict import InputGrid
from worker.vision.slices.preprocess import Box
from worker.vision.slices.sections import measure_sections
from worker.vision.slices.slice_axis import slice_steps_mm, smooth

pytestmark = pytest.mark.unit

LESION = Lesion(np.ones((3, 4, 4), bool), 1000.0)


def found(
    score: float, *, mimic: float = 0.0, lesion: bool = True, coverage_mm: float = 150.0
) -> SeriesScore:
    return SeriesScore(np.array([score]), np.array([mimic]), {}, (LESION,) if lesion else (), coverage_mm)


@pytest.mark.parametrize(
    ("series", "outcome"),
    [
        (found(0.1), Outcome.ABSENT),
        (found(0.1, lesion=False), Outcome.ABSENT),
        (found(0.5), Outcome.UNDETERMINED),
        (found(0.8), Outcome.PRESENT),
        (found(0.8, lesion=False), Outcome.UNDETERMINED),
        (found(0.99, lesion=False), Outcome.PRESENT),
        (found(0.1, coverage_mm=40), Outcome.UNDETERMINED),
        (found(0.8, coverage_mm=40), Outcome.PRESENT),
    ],
)
def test_two_thresholds_and_the_mask_decide_a_series(series: SeriesScore, outcome: Outcome) -> None:
    assert decide_series(series, rule())[0] is outcome


@pytest.mark.parametrize("score", [0.1, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("lesion", [True, False])
def test_a_reader_is_told_the_threshold_that_was_applied(score: float, lesion: bool) -> None:
    series = found(score, lesion=lesion)
    outcome, _ = decide_series(series, rule())
    assert (score >= applied_threshold(series, rule())) == (outcome is Outcome.PRESENT)


def test_a_doubt_for_want_of_a_lesion_says_what_would_be_enough_without_one() -> None:
    _, reason = decide_series(found(0.8, lesion=False), rule())
    assert f"without one it takes {100 * rule().certain:.0f} %" in reason.text


@pytest.mark.parametrize(
    ("series", "outcome", "code"),
    [
        (found(0.1, mimic=0.59), Outcome.ABSENT, ReasonCode.NO_TUMOUR),
        (found(0.1, mimic=0.6), Outcome.UNDETERMINED, ReasonCode.LOOK_ALIKE),
        (found(0.5, mimic=0.9), Outcome.UNDETERMINED, ReasonCode.LOOK_ALIKE),
        (found(0.1, mimic=0.9, coverage_mm=40), Outcome.UNDETERMINED, ReasonCode.LOOK_ALIKE),
        (found(0.8, mimic=0.9, lesion=False), Outcome.UNDETERMINED, ReasonCode.LOOK_ALIKE),
        (found(0.8, mimic=0.9), Outcome.PRESENT, ReasonCode.TUMOUR),
    ],
)
def test_a_look_alike_is_never_absent_and_hides_no_tumour(
    series: SeriesScore, outcome: Outcome, code: ReasonCode
) -> None:
    decided, reason = decide_series(series, rule())
    assert (decided, reason.code) == (outcome, code)


def row(outcome: Outcome, code: ReasonCode = ReasonCode.NO_SAFE_ANSWER) -> tuple[Outcome, Reason]:
    return outcome, Reason(code, outcome.value)


PRESENT, ABSENT, OPEN = row(Outcome.PRESENT), row(Outcome.ABSENT), row(Outcome.UNDETERMINED)
POOR, NOT = row(Outcome.POOR_QUALITY, ReasonCode.NOISE), row(Outcome.NOT_ELIGIBLE, ReasonCode.NOT_A_HEAD)
PART = row(Outcome.UNDETERMINED, ReasonCode.TOO_FEW_SLICES)


@pytest.mark.parametrize(
    ("series", "outcome"),
    [
        ([ABSENT, OPEN, PRESENT], Outcome.PRESENT),
        ([ABSENT, OPEN], Outcome.UNDETERMINED),
        ([ABSENT, ABSENT], Outcome.ABSENT),
        ([ABSENT, NOT, POOR], Outcome.ABSENT),
        ([ABSENT, PART], Outcome.ABSENT),
        ([PART], Outcome.UNDETERMINED),
        ([PART, NOT], Outcome.UNDETERMINED),
        ([POOR, NOT], Outcome.POOR_QUALITY),
        ([NOT, NOT], Outcome.NOT_ELIGIBLE),
        ([], Outcome.NOT_ELIGIBLE),
    ],
)
def test_present_beats_undetermined_beats_absent(
    series: list[tuple[Outcome, Reason]], outcome: Outcome
) -> None:
    decided, reasons = decide_study(series)
    assert decided is outcome
    assert reasons
    assert len(set(reasons)) == len(reasons)


def test_triage_follows_the_outcome() -> None:
    def of(outcome: Outcome, *, malignant: bool = False, mimic: bool = False) -> Triage:
        return triage_of(outcome, malignant=malignant, mimic=mimic)

    assert of(Outcome.PRESENT, malignant=True) is Triage.URGENT
    assert of(Outcome.PRESENT) is Triage.PRIORITY
    assert of(Outcome.PRESENT, mimic=True) is Triage.URGENT
    assert of(Outcome.UNDETERMINED, malignant=True) is Triage.PRIORITY
    assert of(Outcome.UNDETERMINED, mimic=True) is Triage.URGENT
    assert of(Outcome.ABSENT, malignant=True) is Triage.ROUTINE
    assert of(Outcome.POOR_QUALITY, malignant=True) is Triage.NONE


def run(step_mm: float, extent_mm: float) -> float:
    """The highest smoothed value of a run of ones in a 200 mm stack."""
    along = np.arange(0, 200, step_mm)
    values: NDArray[np.float64] = (np.abs(along - 100) <= extent_mm / 2).astype(float)
    return float(smooth(values, along, 6.0).max())


def test_thin_and_thick_slices_are_judged_alike() -> None:
    assert run(1.0, 30) == pytest.approx(run(5.0, 30), abs=0.05)


def test_a_single_thin_slice_weighs_less_than_a_run() -> None:
    assert run(1.0, 0.5) < 0.1
    assert run(1.0, 30) > 0.9


def test_a_small_or_single_lesion_or_one_on_doubtful_slices_does_not_agree() -> None:
    high, doubtful = np.full(3, 0.8), np.full(3, 0.6)
    single = Lesion(LESION.region & (np.arange(3) == 1)[:, None, None], 1000.0)
    assert agrees(LESION, high, rule())
    assert not agrees(Lesion(LESION.region, 100.0), high, rule())
    assert not agrees(single, high, rule())
    assert not agrees(LESION, doubtful, rule())
    assert agrees(Lesion(LESION.region[:1], 1000.0), high[:1], rule())


def test_a_lesion_is_as_warm_as_the_hottest_point_in_it() -> None:
    heat = np.zeros((3, 2, 2), np.float32)
    heat[1, 0, 1], heat[2, 1, 0] = 4.0, 1.0
    corner = np.zeros((3, 4, 4), bool)
    corner[2, 3, 0] = True
    assert cam_peak_share(LESION, heat) == 1
    assert cam_peak_share(Lesion(corner, 1000.0), heat) == pytest.approx(0.25)
    assert cam_peak_share(LESION, np.zeros((3, 2, 2), np.float32)) == 0


def test_a_lesion_that_the_classifier_did_not_look_at_is_none() -> None:
    stack = axial_head()
    maps = np.zeros((12, 8, 8), np.float32)
    maps[4:7, 1:4, 1:4] = maps[4:7, 5:8, 5:8] = 1.0
    heat = np.where(np.arange(8) < 4, 1.0, 0.1).astype(np.float32)[None, None] * np.ones(
        (12, 8, 1), np.float32
    )
    box = Box(0, 0, 96, 80)
    said = predictions(np.ones(12))
    said = replace(said, masks=maps, heat=heat, grid=InputGrid(said.grid.display, box, (80, 96)))
    sections = measure_sections(stack)

    def lesions(share: float) -> int:
        return len(score_series(stack, said, sections, rule(lesion_heat=share), CLASSES).lesions)

    assert (lesions(0.0), lesions(0.35)) == (2, 1)


def test_the_classes_follow_the_tumour_score() -> None:
    slices = np.array([[0.1, 0.1, 0.8], [0.8, 0.15, 0.05]])

    def of_mr(*scores: float) -> list[float]:
        return list(series_classes(CLASSES, slices, np.array(scores), np.zeros(2)).values())

    assert of_mr(0.9, 0.1) == pytest.approx([0.1, 0.1, 0.8])
    assert of_mr(0.0, 0.1)[0] == pytest.approx(0.9)
    assert of_mr(0.0, 0.0) == pytest.approx([1, 0, 0])


def test_a_tumour_and_a_look_alike_are_scored_on_slices_of_their_own() -> None:
    classes = series_classes(CT_CLASSES, np.ones((2, 3)) / 3, np.array([0.8, 0.1]), np.array([0.1, 0.5]))
    assert classes == pytest.approx({"healthy": 0.1, "look_alike": 0.5, "tumour": 0.8})


def test_end_slices_and_what_lies_below_the_skull_base_count_less() -> None:
    stack = axial_head(shape=(26, 80, 96), step_mm=6.0)
    weights = slice_weights(stack, measure_sections(stack), rule(brain_height_mm=90.0))
    height = stack.positions_mm[:, 2]
    assert (weights[np.abs(height) > 70] == 0).all()  # nothing of the ball is left
    assert (weights[(np.abs(height) > 65) & (np.abs(height) < 70)] == 0.5).all()
    assert (weights[(height > -20) & (height < 50)] == 1).all()
    assert (weights[(height < -40) & (height > -70)] == 0.5).all()


def test_slices_below_the_skull_base_alone_make_no_ct_positive() -> None:
    stack = ct_head()
    numbers = rule(outer_weight=0.6, smoothing_mm=4.0)
    bone = stack.voxels > 150
    low = stack.positions_mm[:, 2] < -30
    face = replace(stack, voxels=np.where(bone & low[:, None, None], 50, stack.voxels).astype(np.float32))
    sections = measure_sections(face)
    sure = predictions(np.where(low, 1.0, 0.0))
    score = score_series(face, sure, sections, numbers, CT_CLASSES).tumour
    assert numbers.low < score <= numbers.outer_weight < numbers.high
    assert score_series(stack, sure, measure_sections(stack), numbers, CT_CLASSES).tumour > numbers.high


def test_the_committed_rules_give_slices_without_brain_too_little_weight_to_be_positive() -> None:
    for modality, committed in read_registry(WorkerSettings().weights).rules.deciding.items():
        assert committed.outer_weight < committed.high, modality
        assert committed.low <= committed.high <= committed.certain, modality


def test_a_slice_stands_for_half_the_way_to_its_neighbours() -> None:
    assert slice_steps_mm(np.array([0.0, 2.0, 8.0]), 1.0).tolist() == [2.0, 4.0, 6.0]
    assert slice_steps_mm(np.array([0.0]), 5.0).tolist() == [5.0]
