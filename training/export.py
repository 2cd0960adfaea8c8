"""``python -m training.export``: trained weights to half precision, calibrated on val, into the registry."""

import argparse
import json
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from training.calibrate import calibrate
from training.evaluate import WEIGHTS
from training.manifest import read
from training.models import MODELS
from training.predict import predictions
from worker.vision import registry
from worker.vision.network import CLASSES_OF
from worker.vision.preprocess import INPUT_PX
from worker.vision.registry import REGISTRY_FILE, ModelCard
from worker.vision.self_check import answers


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.export", description=__doc__)
    of_mr = sorted(name for name, subject in MODELS.items() if subject.modality == "MR")
    parser.add_argument("--model", choices=of_mr, default="mr-teacher", help="CT: training.ct_export")
    parser.add_argument("--trained", type=Path, required=True, help="best.safetensors of a training run")
    parser.add_argument("--manifest", type=Path, required=True, help="its val split calibrates")
    parser.add_argument("--version", required=True)
    parser.add_argument("--input-px", type=int, default=INPUT_PX)
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of the registry")
    parser.add_argument("--threads", type=int, default=0, help="torch threads; 0: torch's choice")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    card = written(options.model, options.version, options.input_px, options.trained, options.weights)
    network = registry.load(card, options.weights).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    rows = read(options.manifest, card.modality).of_split("val")
    fixed = calibrate(predictions(network, rows, card.input_px))
    card = written(
        options.model, options.version, options.input_px, options.trained, options.weights, fixed.shift
    )
    card = replace(card, temperature=fixed.temperature, thresholds=fixed.thresholds)
    enter(card, options.weights)
    print(json.dumps(as_row(card), indent=1))


def written(
    model: str, version: str, input_px: int, trained: Path, weights_dir: Path, shift: float = 0.0
) -> ModelCard:
    """Weights in half precision, ``shift`` added to the tumour head's bias; the card has no thresholds."""
    full = load_file(trained)
    full["tumour.bias"] = full["tumour.bias"] + shift
    tensors = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in full.items()}
    if not all(bool(torch.isfinite(t).all()) for t in tensors.values() if t.is_floating_point()):
        raise ValueError(f"{trained} does not fit half precision")
    data = save(tensors)
    weights_dir.mkdir(parents=True, exist_ok=True)
    file = f"{model}.safetensors"
    (weights_dir / file).write_bytes(data)
    return ModelCard(
        name=model,
        version=version,
        file=file,
        sha256=sha256(data).hexdigest(),
        modality=MODELS[model].modality,
        input_px=input_px,
        temperature=1.0,
        classes=CLASSES_OF[MODELS[model].modality],
        architecture=MODELS[model].architecture,
    )


def enter(card: ModelCard, weights_dir: Path) -> None:
    """Put a card, with the model's answers to the self-check, into the registry."""
    path = weights_dir / REGISTRY_FILE
    known = registry.cards(weights_dir) if path.is_file() else {}
    network = registry.load(card, weights_dir)
    known[card.name] = replace(card, answers=answers(network, card.input_px))
    rows = [as_row(known[name]) for name in sorted(known)]
    fresh = path.with_suffix(".tmp")
    fresh.write_text(json.dumps({"models": rows}, indent=2) + "\n", encoding="utf-8")
    fresh.replace(path)


def as_row(card: ModelCard) -> dict[str, Any]:
    """A card as the registry's file holds it."""
    plain = replace(card, thresholds=dict(card.thresholds), answers=dict(card.answers))
    return asdict(plain)


if __name__ == "__main__":
    main()
