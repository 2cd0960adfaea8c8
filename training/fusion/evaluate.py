"""The figures of the fusion network, which the step ``evaluate`` prints with ``--model fusion``.

On real pairs tumour or none, on synthetic ones (named so) the classes; each with both modalities, with the CT
left out and with the MR left out. Figures on MR slices alone stand beside those of the other models.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.evaluation.bootstrap import shown
from training.evaluation.cases import Case, probability
from training.evaluation.figures import class_block, tumour_block
from training.fusion.features import PairFeatures, encoder, features_of, without
from training.fusion.pairs import ALONE, REAL, SYNTHETIC, Pair, pairs_of
from training.fusion.patients import QUESTIONS, patient_block
from worker.vision.engines import TORCH
from worker.vision.network.fusion import MODALITIES, FusionNet, tumour_logit
from worker.vision.registry import BadWeights, FusionCard, read_registry
from worker.vision.registry.loading import load_fusion

VARIANTS = {"both": None, "ct_left_out": 0, "mr_left_out": 1}


@dataclass(frozen=True, slots=True, eq=False)
class JudgedPair:
    """The network's answer to a pair; the grey images of one slice are one answer."""

    pair: Pair
    tumour_logit: float  # of the mean odds, as ``training.evaluation.predict.combined`` has it
    classes: NDArray[np.float64]  # (3,) probabilities by the mean logits

    def case(self, temperature: float) -> Case:
        """As the blocks of an evaluation take it; for pairs with an MR slice."""
        if self.pair.row is None:
            raise ValueError("a CT slice alone is no case of an evaluation by rows")
        tumour = probability(self.tumour_logit, temperature)
        return Case(self.pair.row, self.pair.kind, tumour, self.classes, 1.0, None)


@torch.inference_mode()
def judged(network: FusionNet, known: PairFeatures, left_out: int | None) -> list[JudgedPair]:
    """Every pair, whole or with CT (0) or MR (1) left out where the other is there."""
    features = known.features
    rows = torch.arange(len(features.pair))
    classes = network(*features.inputs(rows), without(features.given, left_out)).classes.double()
    tumour = tumour_logit(classes).numpy()
    answers = []
    for place, pair in enumerate(known.pairs):
        mine = torch.nonzero(features.pair == place).flatten().numpy()
        odds = float(np.logaddexp.reduce(tumour[mine]) - np.log(len(mine)))
        answers.append(JudgedPair(pair, odds, classes[mine].mean(0).softmax(0).numpy()))
    return answers


def summary(report: dict[str, Any]) -> str:
    """The figures that matter, one a line."""
    lines = [
        f"{report['model']} {report['version']}, split {report['split']}, {report['rows']} pairs and slices"
    ]
    for name in VARIANTS:
        lines += [
            f"real pairs, {name}: tumour AUC {shown(report['tumour'][name]['auc_roc'])}",
            f"synthetic pairs, {name}: tumour AUC {shown(report['synthetic']['tumour'][name]['auc_roc'])}, "
            f"classes macro F1 {shown(report['synthetic']['classes'][name]['macro_f1'])}",
        ]
    lines.append(f"MR alone: classes macro F1 {shown(report['mr_alone']['classes']['macro_f1'])}")
    lines += [f"{name} (experimental), patients: AUC {shown(report[name]['auc_roc'])}" for name in QUESTIONS]
    return "\n".join(lines)


def report(manifest: Path, split: str | None, weights_dir: Path, engine: str = TORCH) -> dict[str, Any]:
    """All blocks. Raises BadWeights where the registry has no fusion."""
    card = read_registry(weights_dir).fusion
    if card is None:
        raise BadWeights(f"the registry in {weights_dir} has no fusion; python -m training fusion makes one")
    network = load_fusion(card, weights_dir)
    ct, mr = (encoder(card.members[m].name, m, weights_dir, engine) for m in MODALITIES)
    pairs = pairs_of(manifest, split, mr.stored_px)
    known = PairFeatures(pairs, features_of(pairs, (ct, mr), views=1))
    return {
        "model": card.name,
        "version": card.version,
        "sha256": card.sha256,
        "split": split,
        "rows": len(pairs),
        "interval": "bootstrap over groups, 95 %; groups of figshare are its series (a proxy)",
        **blocks(network, known, card),
        **{name: patient_block(network, known, name) for name in QUESTIONS},
    }


def blocks(network: FusionNet, known: PairFeatures, card: FusionCard) -> dict[str, Any]:
    """``tumour`` on real pairs, ``classes`` on synthetic ones, and MR slices alone."""
    variants = {name: judged(network, known, left_out) for name, left_out in VARIANTS.items()}

    def tumour(kind: str) -> dict[str, Any]:
        return {name: tumour_block(_cases(rows, kind, card), threshold) for name, rows in variants.items()}

    threshold = card.thresholds["tumour"]
    alone = _cases(variants["both"], ALONE, card)
    return {
        "tumour": {"pairs": "real", **tumour(REAL)},
        "synthetic": {
            "tumour": tumour(SYNTHETIC),
            "classes": {
                name: class_block(_cases(rows, SYNTHETIC, card), card.classes)
                for name, rows in variants.items()
            },
        },
        "mr_alone": {
            "tumour": tumour_block(alone, threshold),
            "classes": class_block(alone, card.classes),
        },
    }


def _cases(rows: Sequence[JudgedPair], kind: str, card: FusionCard) -> list[Case]:
    chosen = (row for row in rows if row.pair.kind == kind and row.pair.row is not None)
    return [row.case(card.temperature) for row in chosen]
