"""The numbers of a CT model that are fixed on held-apart val cases.

They come from synthetic masses in val slices (there are hardly any real tumours), with the slices without
them, look-alikes, and the few real tumours of val.
"""

import numpy as np

from training.evaluation.metrics import MASK_SHARES, threshold_at_sensitivity
from training.evaluation.synthetic_masses import CtScores
from training.release.calibrate import DIGITS, SHIFTS, Calibration, floor, platt
from training.synthetic_ct.samples import BLEEDS, LOOK_ALIKE

TUMOUR_SENSITIVITY = 0.90  # on synthetic masses of val; the faintest of them nobody would see
LOOK_ALIKE_SENSITIVITY = 0.90  # on real bleeds and synthetic look-alikes of val


def ct_calibrate(found: CtScores, shifts: tuple[float, float] = SHIFTS) -> Calibration:
    """Fit on scores of val cases; ``shifts`` are the bounds of what may be added to the logit."""
    truth = np.array([case.tumour for case in found.cases], bool)
    shift, temperature = (round(value, DIGITS) for value in platt(truth, found.tumour, shifts))
    probability = 1 / (1 + np.exp(-(found.tumour + shift) / temperature))
    alike = found.of("look_alike") | found.of("plain", BLEEDS)
    return Calibration(
        shift,
        temperature,
        {
            "tumour": floor(threshold_at_sensitivity(truth, probability, TUMOUR_SENSITIVITY)),
            "look_alike": floor(
                threshold_at_sensitivity(alike, found.classes[:, LOOK_ALIKE], LOOK_ALIKE_SENSITIVITY)
            ),
            "mask": max(MASK_SHARES, key=found.dice),
        },
    )
