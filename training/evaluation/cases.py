"""The cases of an evaluation: of each slice the truth, calibrated probabilities, and how well maps match."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from training.data.manifest import Row
from training.evaluation.metrics import box_iou, box_of, dice, iou, points_at, standing_out
from training.evaluation.predict import CasePrediction, combined, decoded, explained, lesion
from worker.vision.registry import ModelCard

POINTING_TOLERANCE = 15 / 224  # of the image's longest side
CAM_SHARE = 0.5  # of the map's maximum: where a Grad-CAM region begins


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One slice: a single grey image, or the combination of all of its row."""

    row: Row
    sequence: str
    tumour: float  # calibrated probability
    classes: NDArray[np.float64]  # (3,) probabilities
    head: float
    localisation: Mapping[str, float] | None  # figures of decoder and Grad-CAM where the lesion is known


@dataclass(frozen=True, slots=True, eq=False)
class Cases:
    """Slices once each (several grey images combined), and the grey images of such slices apart."""

    slices: tuple[Case, ...]
    single: tuple[Case, ...]


def cases(answers: Iterable[CasePrediction], card: ModelCard) -> Cases:
    """Predictions, in the order of their rows, to cases."""
    slices: list[Case] = []
    single: list[Case] = []
    for _, same in groupby(answers, key=lambda answer: answer.row.path):
        of_row = list(same)
        if len(of_row) > 1:
            single += [_case(answer, card) for answer in of_row]
        slices.append(_case(combined(of_row) if len(of_row) > 1 else of_row[0], card))
    return Cases(tuple(slices), tuple(single))


def probability(logit: float, temperature: float) -> float:
    """Calibrated probability of a logit (temperature scaling, Guo et al., ICML 2017)."""
    return float(expit(logit / temperature))


def _case(answer: CasePrediction, card: ModelCard) -> Case:
    truth = lesion(answer)
    return Case(
        row=answer.row,
        sequence=answer.sequence,
        tumour=probability(answer.tumour, card.temperature),
        classes=softmax(answer.classes.astype(np.float64)),
        head=probability(answer.head, 1.0),
        localisation=None if truth is None else _localisation(answer, truth, card.thresholds["mask"]),
    )


def _localisation(answer: CasePrediction, truth: NDArray[np.bool_], mask_share: float) -> dict[str, float]:
    heat, soft = explained(answer), decoded(answer)
    tolerance_px = POINTING_TOLERANCE * max(truth.shape)
    figures: dict[str, float] = {}
    for name, shown, share in (("decoder", soft, mask_share), ("grad_cam", heat, CAM_SHARE)):
        region = standing_out(shown, share)
        figures |= {
            f"{name}.dice": dice(region, truth),
            f"{name}.mask_iou": iou(region, truth),
            f"{name}.box_iou": box_iou(box_of(region), box_of(truth)),
            f"{name}.pointing": float(points_at(shown, truth, tolerance_px)),
        }
    return figures
