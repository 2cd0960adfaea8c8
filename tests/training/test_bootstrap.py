"""Intervals: whole patients are resampled, few say nothing, seeds repeat."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from training.evaluation import bootstrap
from training.evaluation.bootstrap import MIN_GROUPS, shown, with_intervals

pytestmark = pytest.mark.unit


def groups_of(sizes: list[int]) -> list[str]:
    return [f"patient {number}" for number, size in enumerate(sizes) for _ in range(size)]


@settings(max_examples=10, deadline=None)
@given(sizes=st.lists(st.integers(1, 4), min_size=MIN_GROUPS, max_size=11))
def test_every_resample_holds_whole_patients(sizes: list[int]) -> None:
    groups = groups_of(sizes)
    resamples: list[NDArray[np.intp]] = []

    def figures(rows: NDArray[np.intp]) -> dict[str, float]:
        resamples.append(rows)
        return {"n": float(len(rows))}

    with_intervals(figures, groups)
    assert resamples[0].tolist() == list(range(len(groups))), "the figure itself is over all cases"
    assert len(resamples) == 1 + bootstrap.RESAMPLES
    for rows in resamples[1:20]:
        times = Counter(rows.tolist())
        drawn = 0
        for patient, size in enumerate(sizes):
            of_patient = {times[index] for index, name in enumerate(groups) if name == f"patient {patient}"}
            assert len(of_patient) == 1, "all slices of a patient come equally often"
            drawn += of_patient.pop()
            assert size > 0
        assert drawn == len(sizes), "as many patients as there are"


def mean_of(values: NDArray[np.float64]) -> bootstrap.Figures:
    return lambda rows: {"mean": float(values[rows].mean())}


@pytest.mark.parametrize(("patients", "has_interval"), [(MIN_GROUPS - 1, False), (MIN_GROUPS, True)])
def test_few_patients_have_no_interval(patients: int, has_interval: bool) -> None:
    values = np.arange(patients * 3, dtype=float)
    figure = with_intervals(mean_of(values), groups_of([3] * patients))["mean"]
    assert figure["value"] == values.mean()
    assert figure["n_groups"] == patients
    assert (figure["low"] is not None) is has_interval
    if has_interval:
        assert figure["low"] < figure["value"] < figure["high"]


def test_alike_slices_of_a_patient_add_nothing() -> None:
    random = np.random.default_rng(0)
    by_patient = random.normal(size=20)
    alone = with_intervals(mean_of(by_patient), groups_of([1] * 20))["mean"]
    often = with_intervals(mean_of(np.repeat(by_patient, 50)), groups_of([50] * 20))["mean"]
    assert often["high"] - often["low"] == pytest.approx(alone["high"] - alone["low"], rel=1e-9)


def test_the_interval_is_about_as_wide_as_theory_has_it() -> None:
    values = np.random.default_rng(1).normal(size=400)
    figure = with_intervals(mean_of(values), groups_of([1] * 400))["mean"]
    assert (figure["high"] - figure["low"]) / 2 == pytest.approx(1.96 / 20, rel=0.15)


def test_a_seed_gives_one_interval() -> None:
    values = np.random.default_rng(2).normal(size=30)
    first, again, other = (with_intervals(mean_of(values), groups_of([1] * 30), seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_figure_that_is_not_defined_is_null() -> None:
    assert with_intervals(lambda _: {"auc": float("nan")}, groups_of([1] * 9)) == {"auc": None}


def test_resamples_that_do_not_define_a_figure_are_left_out() -> None:
    def figures(rows: NDArray[np.intp]) -> dict[str, float]:
        return {"share": float("nan") if 0 in rows else 0.5}

    ten = groups_of([1] * 10)
    assert with_intervals(figures, ten) == {"share": None}, "not even the whole defines it"
    whole = with_intervals(lambda rows: {"share": 0.5 if len(set(rows)) > 5 else float("nan")}, ten)["share"]
    assert (whole["low"], whole["high"]) == (0.5, 0.5)


def test_no_cases_at_all_are_no_error() -> None:
    assert with_intervals(lambda rows: {"mean": float("nan")}, []) == {"mean": None}


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (None, "not defined"),
        ({"value": 0.5, "low": None, "high": None, "n_groups": 1}, "0.500, 1 group"),
        ({"value": 0.9123, "low": 0.8, "high": 0.95, "n_groups": 12}, "0.912 (0.800 to 0.950), 12 groups"),
    ],
)
def test_a_figure_is_shown_with_its_interval_and_groups(figure: dict[str, float] | None, text: str) -> None:
    assert shown(figure) == text
