"""Calibration takes back what was done to made logits; thresholds keep their promises."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy.special import expit

from tests.training.drawn import row
from training.data.manifest import Row
from training.evaluation.metrics import MASK_SHARES
from training.evaluation.predict import CasePrediction
from training.release.calibrate import (
    DIGITS,
    NO_SHIFT,
    SHIFTS,
    TEMPERATURES,
    TUMOUR_SENSITIVITY,
    calibrate,
    fit_tumour,
    floor,
    mask_share,
    one_per_row,
    platt,
)
from worker.vision.slices.preprocess import Box

pytestmark = pytest.mark.unit


def answer(of: Row, tumour: float, mask: NDArray[np.float32] | None = None) -> CasePrediction:
    """An answer for a picture of 32 x 32 px that is its own box."""
    maps = np.zeros((8, 8), np.float32) if mask is None else mask
    return CasePrediction(
        row=of,
        sequence="T1",
        shape=(32, 32),
        box=Box(0, 0, 32, 32),
        tumour=tumour,
        classes=np.zeros(3, np.float32),
        head=3.0,
        mask=maps,
        cam=maps,
    )


def drawn_truth(shift: float, temperature: float, count: int = 20_000) -> tuple[NDArray, NDArray]:  # type: ignore[type-arg]
    """Truths drawn by the probabilities of ``(logit + shift) / temperature``, and the logits (count,)."""
    random = np.random.default_rng(1)
    logits = random.normal(0, 3, count)
    return random.random(count) < expit((logits + shift) / temperature), logits


@pytest.mark.parametrize("shift", [-1.0, 0.0, 1.3])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_a_known_shift_and_temperature_are_recovered(shift: float, temperature: float) -> None:
    fitted = platt(*drawn_truth(shift, temperature))
    assert fitted[0] == pytest.approx(shift, abs=0.12)
    assert fitted[1] == pytest.approx(temperature, rel=0.06)


def test_an_ensemble_gets_a_temperature_and_no_shift() -> None:
    shift, temperature = platt(*drawn_truth(0.0, 2.0), NO_SHIFT)
    assert shift == 0
    assert temperature == pytest.approx(2.0, rel=0.06)


def test_the_search_stays_within_its_bounds() -> None:
    truth, logits = drawn_truth(9.0, 0.05)
    shift, temperature = platt(truth, logits)
    assert SHIFTS[0] <= shift <= SHIFTS[1]
    assert TEMPERATURES[0] * 0.999 <= temperature <= TEMPERATURES[1]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), sensitivity=st.floats(0.5, 1.0), gap=st.floats(0.0, 4.0))
def test_the_threshold_reaches_its_sensitivity_also_as_stored(
    seed: int, sensitivity: float, gap: float
) -> None:
    random = np.random.default_rng(seed)
    truth = np.arange(60) % 3 == 0
    fitted = fit_tumour(truth, random.normal(size=60) + gap * truth, sensitivity)
    reached = np.mean(fitted.probability[truth] >= floor(fitted.threshold))
    assert reached >= sensitivity - 1e-9
    assert fitted.threshold - floor(fitted.threshold) < 10**-DIGITS


def test_probabilities_are_those_that_the_stored_numbers_give() -> None:
    truth, logits = drawn_truth(0.4, 1.7, 300)
    fitted = fit_tumour(truth, logits, 0.9)
    assert fitted.shift == round(fitted.shift, DIGITS)
    assert fitted.temperature == round(fitted.temperature, DIGITS)
    by_hand = 1 / (1 + np.exp(-(logits + fitted.shift) / fitted.temperature))
    np.testing.assert_allclose(fitted.probability, by_hand, rtol=1e-12)


def test_calibration_keeps_the_order_of_the_scores() -> None:
    truth, logits = drawn_truth(-0.8, 2.0, 500)
    order = np.argsort(logits)
    assert (np.diff(fit_tumour(truth, logits, 0.9).probability[order]) >= 0).all()


def test_mr_reaches_its_sensitivity_on_the_slices_of_val() -> None:
    random = np.random.default_rng(3)
    rows = [row(f"{n}.png", tumour=n % 2 == 0) for n in range(200)]
    answers = [answer(r, float(random.normal() + 2 * bool(r.tumour))) for r in rows]
    fixed = calibrate(answers)
    logits = np.array([a.tumour for a in answers])
    truth = np.array([r.tumour for r in rows])
    found = expit((logits[truth] + fixed.shift) / fixed.temperature) >= fixed.thresholds["tumour"]
    assert found.mean() >= TUMOUR_SENSITIVITY["MR"]


def test_slices_of_unknown_truth_do_not_count() -> None:
    rows = [row(f"{n}.png", tumour=n % 2 == 0) for n in range(40)]
    known = [answer(r, 1.0 if r.tumour else -1.0) for r in rows]
    unknown = [answer(row(f"x{n}.png"), 50.0) for n in range(40)]
    assert calibrate([*known, *unknown]) == calibrate(known)


def test_the_grey_images_of_a_row_are_one_case() -> None:
    rows = [row("a.png"), row("a.png"), row("b.png")]
    cases = one_per_row([answer(r, logit) for r, logit in zip(rows, (0.0, 2.0, 1.0), strict=True)])
    assert [case.row.path.name for case in cases] == ["a.png", "b.png"]
    assert cases[0].sequence == "combined"
    assert cases[1].tumour == 1.0


@pytest.mark.parametrize("share", [0.2, 0.4, 0.6])
def test_the_edge_of_a_lesion_is_where_the_masks_of_val_end(share: float, tmp_path: Path) -> None:
    """A map that falls to all sides, and masks that end where it is a share of its maximum."""
    y, x = np.mgrid[:32, :32]
    peak = np.clip(1 - np.hypot(y - 15.5, x - 15.5) / 16, 1e-6, 1 - 1e-6)
    logits = np.log(peak / (1 - peak)).astype(np.float32)
    Image.fromarray(peak > share * peak.max()).save(tmp_path / "mask.png")
    of = row("a.png", mask=tmp_path / "mask.png", tumour=True)
    assert mask_share([answer(of, 1.0, logits)]) == pytest.approx(share)
    assert share in MASK_SHARES


@pytest.mark.parametrize(("value", "stored"), [(0.12345, 0.1234), (0.1234, 0.1234), (0.99999, 0.9999)])
def test_thresholds_are_rounded_down(value: float, stored: float) -> None:
    assert floor(value) == pytest.approx(stored, abs=1e-9)
    assert floor(value) <= value
