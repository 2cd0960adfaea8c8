"""The numbers of a model that are fixed on validation data: calibration and thresholds.

MR is calibrated on the slices of the val split. For CT there are hardly any real tumours, so the cases are
synthetic masses in val slices, the same slices without them, look-alikes, and the few real tumours of val.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from training.evaluation.metrics import MASK_SHARES, dice, standing_out, threshold_at_sensitivity
from training.evaluation.predict import CasePrediction, combined, decoded, lesion
from training.evaluation.synthetic_masses import CtScores
from training.synthetic_ct.samples import BLEEDS, MIMIC

# By modality, the share of the tumours on val that the threshold must find. MR: all sources together, and
# what triage can afford to miss; CT: synthetic masses, of which nobody would see the faintest.
TUMOUR_SENSITIVITY = {"MR": 0.97, "CT": 0.90}
MIMIC_SENSITIVITY = 0.90  # on real bleeds and synthetic look-alikes of val
TEMPERATURES, SHIFTS = (0.25, 4.0), (-2.0, 2.0)  # bounds of the search
NO_SHIFT = (0.0, 0.0)  # of an ensemble, whose members have theirs
DIGITS = 4  # of what is stored


@dataclass(frozen=True, slots=True)
class Calibration:
    """For calibrated probabilities: what is added to the tumour logit and what the sum is divided by.

    Thresholds are of the calibrated tumour probability; of the mask it is the share of the map's maximum from
    which a slice's pixels are lesion.
    """

    shift: float  # goes into the bias of the tumour head
    temperature: float
    thresholds: dict[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class TumourFit:
    """Shift and temperature of n tumour logits, and the probabilities that they make of them."""

    shift: float
    temperature: float
    probability: NDArray[np.float64]  # (n,)
    threshold: float  # of the probability, not rounded


def fit_tumour(
    truth: NDArray[np.bool_],
    logits: NDArray[np.float64],
    sensitivity: float,
    shifts: tuple[float, float] = SHIFTS,
) -> TumourFit:
    """Platt scaling of logits (n,), rounded as stored, and the threshold that reaches a sensitivity."""
    shift, temperature = (round(value, DIGITS) for value in platt(truth, logits, shifts))
    probability = expit((logits + shift) / temperature)
    threshold = threshold_at_sensitivity(truth, probability, sensitivity)
    return TumourFit(shift, temperature, probability, threshold)


def calibrate(answers: Iterable[CasePrediction], shifts: tuple[float, float] = SHIFTS) -> Calibration:
    """Fit on validation answers of MR, in the order of their rows; the slices of patients count as given.

    ``shifts`` are the bounds of what may be added to the logit.
    """
    slices = one_per_row(answers)
    known = [answer for answer in slices if answer.row.tumour is not None]
    truth = np.array([answer.row.tumour is True for answer in known], bool)
    logits = np.array([answer.tumour for answer in known], float)
    tumour = fit_tumour(truth, logits, TUMOUR_SENSITIVITY["MR"], shifts)
    thresholds = {"tumour": floor(tumour.threshold), "mask": mask_share(slices)}
    return Calibration(tumour.shift, tumour.temperature, thresholds)


def ct_calibrate(scores: CtScores, shifts: tuple[float, float] = SHIFTS) -> Calibration:
    """Fit on scores of the CT cases of val; ``shifts`` are the bounds of what may be added to the logit."""
    truth = np.array([case.tumour for case in scores.cases], bool)
    tumour = fit_tumour(truth, scores.tumour, TUMOUR_SENSITIVITY["CT"], shifts)
    alike = scores.of("look_alike") | scores.of("plain", BLEEDS)
    mimic = threshold_at_sensitivity(alike, scores.classes[:, MIMIC], MIMIC_SENSITIVITY)
    thresholds = {
        "tumour": floor(tumour.threshold),
        "look_alike": floor(mimic),
        "mask": max(MASK_SHARES, key=scores.dice),
    }
    return Calibration(tumour.shift, tumour.temperature, thresholds)


def floor(value: float) -> float:
    """Rounded down as stored, so that the slice that decided is not lost."""
    return float(np.floor(value * 10**DIGITS) / 10**DIGITS)


def one_per_row(answers: Iterable[CasePrediction]) -> list[CasePrediction]:
    """The grey images of a row combined."""
    rows = [list(same) for _, same in groupby(answers, key=lambda answer: answer.row.path)]
    return [combined(row) if len(row) > 1 else row[0] for row in rows]


def platt(
    truth: NDArray[np.bool_], logits: NDArray[np.float64], shifts: tuple[float, float] = SHIFTS
) -> tuple[float, float]:
    """Shift and temperature of ``(logit + shift) / temperature`` with the least negative log-likelihood.

    Platt, Advances in Large Margin Classifiers, 1999; scaling by temperature as Guo et al., ICML 2017.
    """

    def loss(point: NDArray[np.float64]) -> float:
        scaled = (logits + point[0]) / np.exp(point[1])
        return float(np.logaddexp(0, np.where(truth, -scaled, scaled)).mean())

    bounds = [shifts, tuple(np.log(TEMPERATURES))]
    shift, log_temperature = minimize(loss, np.zeros(2), bounds=bounds, method="L-BFGS-B").x
    return float(shift), float(np.exp(log_temperature))


def mask_share(slices: Sequence[CasePrediction]) -> float:
    """Of the map's maximum, the share with the best mean Dice over the slices whose lesion is known."""
    totals = dict.fromkeys(MASK_SHARES, 0.0)
    for answer in slices:
        truth = lesion(answer)
        if truth is not None:
            probability = decoded(answer)
            for share in MASK_SHARES:
                totals[share] += dice(standing_out(probability, share), truth)
    return max(MASK_SHARES, key=totals.__getitem__)
