"""The numbers of a model that are fixed on validation slices: calibration and thresholds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from training.evaluation.metrics import MASK_SHARES, dice, standing_out, threshold_at_sensitivity
from training.evaluation.predict import CasePrediction, combined, decoded, lesion

TUMOUR_SENSITIVITY = 0.97  # on validation slices, all sources together; what triage can afford to miss
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


def calibrate(answers: Iterable[CasePrediction], shifts: tuple[float, float] = SHIFTS) -> Calibration:
    """Fit on validation answers, in the order of their rows; the slices of patients count as given.

    ``shifts`` are the bounds of what may be added to the logit.
    """
    slices = one_per_row(answers)
    known = [answer for answer in slices if answer.row.tumour is not None]
    truth = np.array([answer.row.tumour is True for answer in known], bool)
    logits = np.array([answer.tumour for answer in known], float)
    shift, temperature = (round(value, DIGITS) for value in platt(truth, logits, shifts))
    probability = 1 / (1 + np.exp(-(logits + shift) / temperature))
    tumour = threshold_at_sensitivity(truth, probability, TUMOUR_SENSITIVITY)
    return Calibration(shift, temperature, {"tumour": floor(tumour), "mask": mask_share(slices)})


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
