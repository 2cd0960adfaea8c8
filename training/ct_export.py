"""``python -m training.ct_export``: CT weights to half precision, calibrated on held-apart val cases.

Calibration and operating points come from synthetic masses in val slices (there are hardly any real ones),
with the slices without them, look-alikes, and the few real tumours of val.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from training.calibrate import DIGITS, MASK_LEVELS, platt
from training.ct_evaluate import CtScores, held_apart, scores
from training.ct_samples import BLEEDS, LOOK_ALIKE
from training.evaluate import WEIGHTS
from training.export import as_row, enter, written
from training.metrics import threshold_at_sensitivity
from worker.vision import registry
from worker.vision.preprocess import INPUT_PX
from worker.vision.registry import ModelCard

MODEL = "ct-teacher"
TUMOUR_SENSITIVITY = 0.90  # on synthetic masses of val; the faintest of them nobody would see
LOOK_ALIKE_SENSITIVITY = 0.90  # on real bleeds and synthetic look-alikes of val


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.ct_export", description=__doc__)
    parser.add_argument("--trained", type=Path, required=True, help="best.safetensors of a training run")
    parser.add_argument("--manifest", type=Path, required=True, help="its val split calibrates")
    parser.add_argument("--version", required=True)
    parser.add_argument("--input-px", type=int, default=INPUT_PX)
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of the registry")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cases = held_apart(options.manifest, "val")

    def export(shift: float) -> tuple[ModelCard, CtScores]:
        card = written(MODEL, options.version, options.input_px, options.trained, options.weights, shift)
        return card, scores(registry.load(card, options.weights), cases, card.input_px)

    shift, temperature = platt(*_truth_and_logits(export(0.0)[1]))
    card, found = export(round(shift, DIGITS))
    card = replace(card, temperature=round(temperature, DIGITS))
    card = replace(card, thresholds=thresholds(found, card.temperature))
    enter(card, options.weights)
    print(json.dumps(as_row(card), indent=1))


def thresholds(found: CtScores, temperature: float) -> dict[str, float]:
    """Operating points: calibrated tumour probability, look-alike probability, mask probability."""
    truth, logits = _truth_and_logits(found)
    alike = found.of("look_alike") | found.of("plain", BLEEDS)
    tumour = threshold_at_sensitivity(truth, 1 / (1 + np.exp(-logits / temperature)), TUMOUR_SENSITIVITY)
    look_alike = threshold_at_sensitivity(alike, found.classes[:, LOOK_ALIKE], LOOK_ALIKE_SENSITIVITY)
    return {
        "tumour": _floor(tumour),
        "look_alike": _floor(look_alike),
        "mask": max(MASK_LEVELS, key=found.dice),
    }


def _truth_and_logits(found: CtScores) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    return np.array([case.tumour for case in found.cases], bool), found.tumour


def _floor(value: float) -> float:
    """Rounded down, so that the slice that decided is not lost."""
    return float(np.floor(value * 10**DIGITS) / 10**DIGITS)


if __name__ == "__main__":
    main()
