"""The trained fusion: calibrated on val, written in half precision, entered into the registry."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from training.fusion.evaluate import judged
from training.fusion.features import Encoder, PairFeatures
from training.fusion.pairs import ALONE
from training.fusion.patients import QUESTIONS, patient_block
from training.release.calibrate import DIGITS, TUMOUR_SENSITIVITY, fit_tumour, floor
from worker.vision.network import CLASSES
from worker.vision.network.fusion import MODALITIES, FusionNet
from worker.vision.registry.cards import FUSION
from worker.vision.registry.registry import REGISTRY_FILE
from worker.vision.registry.self_check import fusion_answers

RAISED_SHARE = 0.01  # of the tumour-free pairs of val that the threshold for raising a doubt may let through


def fusion_entry(
    network: FusionNet, encoders: tuple[Encoder, Encoder], val: PairFeatures, version: str, weights_dir: Path
) -> dict[str, Any]:
    """Calibrate on val, write weights and card; returns the card as the registry holds it."""
    shift, temperature, thresholds = calibrated(network, val)
    with torch.no_grad():
        network.classes.bias[0] -= shift
    tensors = {name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise ValueError("the fusion's weights do not fit half precision")
    network.load_state_dict(tensors)  # what is stored is what answers
    data = save(tensors)
    file = f"{FUSION}.safetensors"
    (weights_dir / file).write_bytes(data)
    blocks = {name: patient_block(network, val, name) for name in QUESTIONS}
    row = {
        "version": version,
        "file": file,
        "sha256": sha256(data).hexdigest(),
        "members": {
            modality: {"name": encoder.card.name, "sha256": encoder.card.sha256}
            for modality, encoder in zip(MODALITIES, encoders, strict=True)
        },
        "temperature": temperature,
        "thresholds": thresholds,
        "classes": list(CLASSES),
        "experiments": {
            name: {"auc_roc": block["auc_roc"], "allowed": above_chance(block["auc_roc"])}
            for name, block in blocks.items()
        },
        "answers": fusion_answers(network),
    }
    path = weights_dir / REGISTRY_FILE
    document = json.loads(path.read_text(encoding="utf-8"))
    fresh = path.with_suffix(".tmp")
    fresh.write_text(json.dumps({**document, FUSION: row}, indent=2) + "\n", encoding="utf-8")
    fresh.replace(path)
    return row


def above_chance(figure: Any) -> bool:
    """Whether an AUC's interval lies above one half; without an interval it is not known to."""
    return bool(figure and figure["low"] is not None and figure["low"] > 0.5)


def calibrated(network: FusionNet, val: PairFeatures) -> tuple[float, float, dict[str, float]]:
    """Shift and temperature of the tumour logit, and thresholds of the probability, on pairs of val."""
    cases = [case for case in judged(network, val, None) if case.pair.kind != ALONE]
    known = [case for case in cases if case.pair.tumour is not None]
    truth = np.array([case.pair.tumour for case in known], bool)
    logits = np.array([case.tumour_logit for case in known])
    tumour = fit_tumour(truth, logits, TUMOUR_SENSITIVITY["MR"])
    raised = max(float(np.quantile(tumour.probability[~truth], 1 - RAISED_SHARE)), tumour.threshold)
    thresholds = {
        "tumour": floor(tumour.threshold),
        "raise": float(np.ceil(raised * 10**DIGITS)) / 10**DIGITS,
    }
    return tumour.shift, tumour.temperature, thresholds
