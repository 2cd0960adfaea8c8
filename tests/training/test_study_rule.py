"""The MR study rule: its two thresholds, chosen on series whose truth is known."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from neurotriage.core.values import Plane
from tests.vision.synthetic import ct_head, predictions, rule
from training.release.scored_series import EVEN_ODDS, ScoredSeries, figure, logits, with_thresholds
from training.release.scored_series import SMOOTHINGS_MM as MM
from training.release.study_rule import choose, faults, thresholds
from worker.vision.network import CT_CLASSES
from worker.vision.registry import StudyRule
from worker.vision.series.decide import decide_series
from worker.vision.slices.sections import measure_sections

START = rule(head_probability=0.5, outer_weight=0.7)


def series(probability: float, *, tumour: bool) -> ScoredSeries:
    """A series whose slices all have one score."""
    stack = ct_head(shape=(8, 40, 48), spacing_mm=(5.0, 4.0), step_mm=20.0)
    said = predictions(np.full(8, probability))
    return ScoredSeries("one", tumour, stack, said, measure_sections(stack), 0.1, CT_CLASSES)


def chosen(healthy: Sequence[float], tumours: Sequence[float]) -> StudyRule:
    seen = [series(p, tumour=False) for p in healthy] + [series(p, tumour=True) for p in tumours]
    return choose(seen, [], START)


def outcome(probability: float, found: StudyRule) -> str:
    return decide_series(series(probability, tumour=True).score(found), found)[0].value


def test_a_score_far_below_all_tumours_is_still_no_safe_absence_where_few_healthy_series_have_it() -> None:
    found = chosen(healthy=[0.05] * 19 + [0.3], tumours=[0.9, 0.95])
    assert found.low < EVEN_ODDS
    assert outcome(0.45, found) == "undetermined"
    assert outcome(0.04, found) == "absent"


def test_a_score_above_even_odds_is_never_absent_and_one_below_them_never_present() -> None:
    found = chosen(healthy=[0.8] * 10, tumours=[0.9] * 10)
    assert found.low <= EVEN_ODDS <= found.high
    assert outcome(0.51, found) == "undetermined"


def on_one_slice(others: float, one_slice: float) -> ScoredSeries:
    """A series of a tumour patient of which one slice shows the tumour."""
    one = series(others, tumour=True)
    said = predictions(np.array([others] * 3 + [one_slice] + [others] * 4))
    return replace(one, predictions=said)


def test_the_smoothing_is_one_that_leaves_the_fewest_tumours_open() -> None:
    seen = [series(0.05, tumour=False) for _ in range(10)] + [on_one_slice(0.3, 0.97)] * 2
    found = choose(seen, [], START)
    open_tumours = {mm: faults(seen, thresholds(seen, [], replace(START, smoothing_mm=mm)))[1] for mm in MM}
    assert faults(seen, found)[:2] == (0, min(open_tumours.values()))
    assert len(set(open_tumours.values())) > 1


@pytest.mark.parametrize("plane", Plane)
def test_a_series_is_as_odd_as_those_of_val_in_its_plane_and_not_more(plane: Plane) -> None:
    seen = [replace(series(0.05, tumour=tumour), odd=0.2) for tumour in (False, True)]
    seen = [replace(one, volume=replace(one.volume, plane=each)) for one in seen for each in Plane]
    odd = replace(seen[0], odd=0.6, volume=replace(seen[0].volume, plane=plane))
    found = choose(seen, [odd], START)  # a series of a patient's slices counts as a volume does
    assert {each: found.ood_limit(each) for each in Plane} == dict.fromkeys(Plane, 0.25) | {plane: 0.75}


def test_of_a_plane_that_val_does_not_have_the_oddest_series_of_any_sets_the_limit() -> None:
    seen = [replace(series(0.05, tumour=tumour), odd=0.2) for tumour in (False, True)]
    assert choose(seen, [], START).ood_limit(Plane.SAGITTAL) == 0.25


def test_absent_is_said_only_where_every_engine_says_it() -> None:
    found = chosen(healthy=[0.2] * 10, tumours=[0.9] * 10)
    assert outcome(0.19, found) == "undetermined"  # another engine may say 0.2
    assert outcome(0.17, found) == "absent"


def test_a_slice_without_brain_is_never_enough_for_a_positive_series() -> None:
    found = chosen(healthy=[0.05] * 10, tumours=[0.95] * 10)
    assert found.outer_weight < found.high


def test_certainty_lies_half_way_from_the_upper_threshold_to_one() -> None:
    found = chosen(healthy=[0.8] * 10, tumours=[0.9] * 10)
    assert found.certain == pytest.approx((1 + found.high) / 2, abs=1e-3)


def test_thresholds_are_stored_with_three_digits_and_the_lower_one_below_what_was_chosen() -> None:
    stored = with_thresholds(START, [series(0.1, tumour=False)], 0.40009, 0.70009)
    assert stored.high == 0.7
    assert stored.low == round(stored.low, 3) < 0.4
    assert stored.certain == 0.85


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_the_surest_scores_are_finite_logits(probability: float) -> None:
    assert np.isfinite(logits([series(probability, tumour=True)], START)).all()


def test_a_row_of_figures_says_outcome_and_score() -> None:
    known = series(0.9, tumour=True)
    row = figure(known, START)
    assert (row["volume"], row["plane"], row["tumour"]) == ("one", "axial", True)
    assert row["outcome"] == decide_series(known.score(START), START)[0].value
    assert 0 <= float(str(row["score"])) <= 1
