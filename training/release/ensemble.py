"""``python -m training ensemble``: models of the registry that answer together, calibrated on val.

Prints the val figures of each member and of the ensemble side by side, so that a person can choose.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from training.data.manifest import read
from training.evaluation.deciding import DECIDING
from training.evaluation.slices import evaluate, judge
from training.evaluation.synthetic_masses import ct_val_scores, held_apart, scores
from training.options import step_parser, use_threads
from training.release.calibrate import NO_SHIFT
from training.release.card import TARGETS, figure_at
from training.release.export import as_row, calibration, enter
from worker.vision.registry import ModelCard, read_cards
from worker.vision.registry.cards import ENSEMBLE, check_members, ensemble_sha256
from worker.vision.registry.loading import load_network


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = step_parser("ensemble", __doc__, "--manifest", "--version", "--weights", "--threads")
    parser.add_argument("--name", choices=DECIDING, required=True, help="name of the ensemble")
    parser.add_argument("--members", nargs="+", required=True, metavar="NAME", help="names in the registry")
    parser.add_argument(
        "--mirrored", action="store_true", help="judge each slice mirrored as well: better, in twice the time"
    )
    options = parser.parse_args(arguments)
    use_threads(options.threads)
    registry = read_cards(options.weights)
    members = [registry.card(name) for name in options.members]
    card = formed(options.name, options.version, members, mirrored=options.mirrored)
    card = calibrated(card, options.manifest, options.weights)
    enter(card, options.weights)
    print(json.dumps(as_row(card), indent=1))
    models = (*members, card)
    print(table({model.name: val_figures(model, options.manifest, options.weights) for model in models}))


def formed(name: str, version: str, members: Sequence[ModelCard], *, mirrored: bool = False) -> ModelCard:
    """The card of an ensemble, not calibrated. Raises BadWeights where the members do not fit together."""
    first = members[0]
    card = ModelCard(
        name=name,
        version=version,
        file="",
        sha256=ensemble_sha256(members, mirrored=mirrored),
        modality=first.modality,
        input_px=first.input_px,
        temperature=1.0,
        classes=first.classes,
        architecture=ENSEMBLE,
        members=tuple(members),
        mirrored=mirrored,
    )
    check_members(card)
    return card


def calibrated(card: ModelCard, manifest: Path, weights_dir: Path) -> ModelCard:
    """The card with the temperature and the thresholds that val gives; the members keep their shifts."""
    fixed = calibration(load_network(card, weights_dir), card, manifest, NO_SHIFT)
    return replace(card, temperature=fixed.temperature, thresholds=fixed.thresholds)


def val_figures(card: ModelCard, manifest: Path, weights_dir: Path) -> dict[str, float | None]:
    """The figures of a model on val, by their names; None where one is not defined."""
    if card.modality == "CT":
        network = load_network(card, weights_dir)
        return {**ct_val_scores(scores(network, held_apart(manifest, "val"), card.input_px))}
    rows = read(manifest, card.modality)
    report = evaluate(judge(rows.of_split("val"), card, weights_dir), card, rows, "val")
    figures = {text: figure_at(report, path) for text, path, _, _ in TARGETS}
    figures["tumour against none, ECE"] = report["tumour"]["ece"]
    return {text: figure["value"] if figure else None for text, figure in figures.items()}


def table(models: Mapping[str, Mapping[str, float | None]]) -> str:
    """A table with one line for each figure and one column for each model."""
    questions = list(next(iter(models.values())))
    wide, cell = max(map(len, questions)), max(8, *map(len, models))
    lines = [" ".join([f"{'val':{wide}}", *(f"{name:>{cell}}" for name in models)])]
    for question in questions:
        values = [figures[question] for figures in models.values()]
        cells = [f"{'-' if value is None else f'{value:.4f}':>{cell}}" for value in values]
        lines.append(" ".join([f"{question:{wide}}", *cells]))
    return "\n".join(lines)
