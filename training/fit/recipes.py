"""The recipes of training, one for each modality."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from training.data.manifest import Row, read
from training.data.samples import CELL_SHARES, STORED_PX, Stock, stock, stored_px
from training.evaluation.metrics import auc_roc, dice, standing_out
from training.evaluation.predict import decoded, lesion, predictions
from training.evaluation.synthetic_masses import ct_val_scores, held_apart, scores
from training.fit.augment import Slices, augmented
from training.fit.augment_ct import ct_augmented
from training.fit.settings import TrainingSettings
from training.synthetic_ct.lesions import lesions_of
from training.synthetic_ct.samples import cell_shares, ct_stock
from worker.vision.network import SliceNet
from worker.vision.slices.preprocess import INPUT_PX

MASK_SHARE = 0.45  # of a map's maximum, where the lesion begins while val is looked at
PATIENT_SOURCES = ("lgg", "btp")  # with tumour-free slices of the same patients

log = logging.getLogger("training")


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that differs between modalities: the stored slices, how they are drawn, varied and judged."""

    stock: Callable[[Sequence[Row]], Stock]
    cell_shares: Mapping[tuple[str, str], float]
    augmented: Callable[[Slices, Tensor, int], Slices]
    val_scores: Callable[[SliceNet, Sequence[Row], int], dict[str, float]]


def mr_recipe(settings: TrainingSettings) -> Recipe:
    """Manifest rows as they are."""
    side_px = stored_px(settings.input_px)
    return Recipe(lambda rows: stock(rows, side_px), CELL_SHARES, augmented, val_scores)


def ct_recipe(settings: TrainingSettings) -> Recipe:
    """Manifest rows and template volumes, each slice with and without a synthetic mass."""
    folder = settings.manifest.parent
    if stored_px(settings.input_px) > STORED_PX:
        log.warning("CT slices are stored for inputs of %d px: a larger input shows no more detail", INPUT_PX)
    lesions = lesions_of(read(settings.manifest, "MR").of_split("train"))
    judged = held_apart(settings.manifest, "val")
    return Recipe(
        stock=lambda rows: ct_stock(rows, folder, settings.seed, lesions),
        cell_shares=cell_shares(),
        augmented=ct_augmented,
        val_scores=lambda network, _, px: ct_val_scores(scores(network, judged, px)),
    )


RECIPES: Mapping[str, Callable[[TrainingSettings], Recipe]] = {
    "MR": mr_recipe,
    "CT": ct_recipe,
}  # by modality


def val_scores(network: SliceNet, rows: Sequence[Row], input_px: int) -> dict[str, float]:
    """AUC within patients and across sources, and mean Dice of the decoder."""
    answers = list(predictions(network, rows, input_px))
    within = [a for a in answers if a.row.source in PATIENT_SOURCES]
    across = [a for a in answers if a.row.source not in PATIENT_SOURCES]
    overlaps = [
        dice(standing_out(decoded(a), MASK_SHARE), truth) for a in answers if (truth := lesion(a)) is not None
    ]
    return {
        "within": auc_roc([a.row.tumour is True for a in within], [a.tumour for a in within]),
        "across": auc_roc([a.row.tumour is True for a in across], [a.tumour for a in across]),
        "dice": float(np.mean(overlaps)) if overlaps else 0.0,
    }
