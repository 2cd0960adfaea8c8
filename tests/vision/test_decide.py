"""The table from slice scores to outcome."""

import numpy as np
import pytest
from numpy.typing import NDArray

from neurotriage.core.values import Outcome, Reason, ReasonCode, Triage
from tests.vision.synthetic import axial_head, rule
from worker.vision.decide import (
    SeriesScore,
    agrees,
    decide_series,
    decide_study,
    series_classes,
    slice_steps_mm,
    slice_weights,
    smooth,
    triage_of,
)
from worker.vision.eligibility import measure_sections
from worker.vision.findings import Lesion

pytestmark = pytest.mark.unit

LESION = Lesion(np.ones((3, 4, 4), bool), 1000.0)


def found(score: float, *, lesion: bool = True, coverage_mm: float = 150.0) -> SeriesScore:
    return SeriesScore(
        np.array([score]), score, np.array([0.2, 0.3, 0.5]), (LESION,) if lesion else (), coverage_mm
    )


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
    assert triage_of(Outcome.PRESENT, malignant=True) is Triage.URGENT
    assert triage_of(Outcome.PRESENT, malignant=False) is Triage.PRIORITY
    assert triage_of(Outcome.UNDETERMINED, malignant=True) is Triage.PRIORITY
    assert triage_of(Outcome.ABSENT, malignant=True) is Triage.ROUTINE
    assert triage_of(Outcome.POOR_QUALITY, malignant=True) is Triage.NONE


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


def test_the_classes_follow_the_tumour_score() -> None:
    slices = np.array([[0.1, 0.1, 0.8], [0.8, 0.15, 0.05]])
    assert series_classes(slices, np.array([0.9, 0.1])) == pytest.approx([0.1, 0.1, 0.8])
    assert series_classes(slices, np.array([0.0, 0.1]))[0] == pytest.approx(0.9)
    assert series_classes(slices, np.zeros(2)) == pytest.approx([1, 0, 0])


def test_end_slices_and_what_lies_below_the_skull_base_count_less() -> None:
    stack = axial_head(shape=(26, 80, 96), step_mm=6.0)
    weights = slice_weights(stack, measure_sections(stack), rule(brain_height_mm=90.0))
    height = stack.positions_mm[:, 2]
    assert (weights[np.abs(height) > 70] == 0.5).all()
    assert (weights[(height > -20) & (height < 50)] == 1).all()
    assert (weights[height < -40] == 0.5).all()


def test_a_slice_stands_for_half_the_way_to_its_neighbours() -> None:
    assert slice_steps_mm(np.array([0.0, 2.0, 8.0]), 1.0).tolist() == [2.0, 4.0, 6.0]
    assert slice_steps_mm(np.array([0.0]), 5.0).tolist() == [5.0]
