"""``python -m training export``: trained weights to half precision, calibrated on val, into the registry."""

import json
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save

from training.data.manifest import read
from training.evaluation.predict import predictions
from training.evaluation.synthetic_masses import held_apart, scores
from training.fit.models import INPUT_PX_KEY, MODELS
from training.options import step_parser, use_threads
from training.release.calibrate import SHIFTS, Calibration, calibrate, ct_calibrate
from worker.vision.network import CLASSES_OF, Network
from worker.vision.registry import ModelCard, read_cards
from worker.vision.registry.cards import FUSION
from worker.vision.registry.loading import load_network
from worker.vision.registry.registry import REGISTRY_FILE
from worker.vision.registry.self_check import answers
from worker.vision.slices.preprocess import INPUT_PX


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = step_parser("export", __doc__, "--manifest", "--version", "--weights", "--threads")
    parser.add_argument("--model", choices=sorted(MODELS), required=True, help="model that was trained")
    parser.add_argument("--trained", type=Path, required=True, help="best.safetensors of a training run")
    parser.add_argument("--input-px", type=int, help="default: that of the training run")
    options = parser.parse_args(arguments)
    use_threads(options.threads)
    input_px = options.input_px or trained_px(options.trained)
    what = (options.model, options.version, input_px, options.trained, options.weights)
    card = written(*what)
    fixed = calibration(load_network(card, options.weights), card, options.manifest)
    card = replace(written(*what, fixed.shift), temperature=fixed.temperature, thresholds=fixed.thresholds)
    enter(card, options.weights)
    print(json.dumps(as_row(card), indent=1))


def trained_px(trained: Path) -> int:
    """The input size with which a run was trained, as it wrote that beside its weights."""
    with safe_open(trained, "pt") as file:
        return int((file.metadata() or {}).get(INPUT_PX_KEY, INPUT_PX))


def calibration(
    network: Network, card: ModelCard, manifest: Path, shifts: tuple[float, float] = SHIFTS
) -> Calibration:
    """Fixed on the val split: on its rows for MR, for CT on cases made of them.

    ``training.synthetic_ct.samples`` makes these.
    """
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if card.modality == "CT":
        return ct_calibrate(scores(network, held_apart(manifest, "val"), card.input_px), shifts)
    rows = read(manifest, card.modality).of_split("val")
    return calibrate(predictions(network, rows, card.input_px), shifts)


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
    """Put a card, with the model's answers to the self-check, into the registry.

    Ensembles of what the card replaces, and a fusion that sees through it, are taken out: they are to be
    formed again.
    """
    path = weights_dir / REGISTRY_FILE
    known = read_cards(weights_dir).cards if path.is_file() else {}
    network = load_network(card, weights_dir)
    without = {
        name: other
        for name, other in known.items()
        if card.name not in [member.name for member in other.members]
    }
    kept = without | {card.name: replace(card, answers=answers(network, card.input_px))}
    rows = [as_row(kept[name]) for name in sorted(kept)]
    document = {"models": rows, **_fusion_row(path, card.name)}
    fresh = path.with_suffix(".tmp")
    fresh.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    fresh.replace(path)


def _fusion_row(path: Path, replaced: str) -> dict[str, Any]:
    """The fusion's card as the registry has it, unless it sees through the model that is replaced."""
    row = json.loads(path.read_text(encoding="utf-8")).get(FUSION) if path.is_file() else None
    if row is None or any(member["name"] == replaced for member in row["members"].values()):
        return {}
    return {FUSION: row}


def as_row(card: ModelCard) -> dict[str, Any]:
    """A card as the registry's file holds it."""
    members = {"members": [member.name for member in card.members], "mirrored": card.mirrored}
    return {
        "name": card.name,
        "version": card.version,
        **({} if card.members else {"file": card.file}),
        "sha256": card.sha256,
        "modality": card.modality,
        "input_px": card.input_px,
        "temperature": card.temperature,
        "thresholds": dict(card.thresholds),
        "classes": list(card.classes),
        "architecture": card.architecture,
        "answers": {name: list(values) for name, values in card.answers.items()},
        **(members if card.members else {}),
    }
