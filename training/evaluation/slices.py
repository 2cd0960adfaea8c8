"""``python -m training evaluate``: a model's figures on any manifest of slices, as JSON."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from training.data.manifest import Manifest, Row, read
from training.evaluation.cases import Cases, cases
from training.evaluation.figures import (
    class_block,
    grade_block,
    localisation_block,
    sequence_block,
    tumour_block,
)
from training.evaluation.predict import predictions
from training.options import step_parser, use_threads
from worker.vision import registry
from worker.vision.fusion_registry import FUSION
from worker.vision.registry import ModelCard
from worker.vision.rule import read_rules

DECIDING = ("mr", "ct")  # stand for the model that decides


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = step_parser("evaluate", __doc__, "--manifest", "--split", "--json", "--weights", "--threads")
    parser.add_argument("--model", default="mr", help="name in the registry; mr, ct: what decides by default")
    parser.add_argument("--plots", type=Path, help="folder for ROC, PR, calibration and confusion plots")
    options = parser.parse_args(arguments)
    use_threads(options.threads)
    if options.model == FUSION:
        from training.fusion.evaluate import print_report  # which imports this module

        print_report(options.manifest, options.split, options.weights, options.json)
        return
    card = named(options.model, options.weights)
    manifest = read(options.manifest, card.modality)
    rows = manifest.rows if options.split is None else manifest.of_split(options.split)
    judged = judge(rows, card, options.weights)
    report = evaluate(judged, card, manifest, options.split)
    text = json.dumps(report, indent=1)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    if options.plots:
        from training.evaluation.plots import plot

        plot(judged, card, options.plots)
    print(summary(report) if options.json else text)


def named(model: str, weights_dir: Path) -> ModelCard:
    """The card of a model; "mr" and "ct" are what decides according to the study rule. Raises BadWeights."""
    if model in DECIDING:
        rule = read_rules(weights_dir).get(model.upper())
        model = rule.model if rule else model
    return registry.card(model, weights_dir)


def judge(rows: tuple[Row, ...], card: ModelCard, weights_dir: Path) -> Cases:
    """Run the model over rows."""
    network = registry.load(card, weights_dir)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return cases(predictions(network, rows, card.input_px), card)


def evaluate(judged: Cases, card: ModelCard, manifest: Manifest, split: str | None) -> dict[str, Any]:
    """The report: each figure ``{value, low, high, n_groups}``, null where labels are missing."""
    threshold = card.thresholds["tumour"]
    tumour = tumour_block(judged.slices, threshold)
    tumour["within_patients"]["by_sequence"] = sequence_block(judged.single, threshold)
    return {
        "model": card.name,
        "version": card.version,
        "sha256": card.sha256,
        "split": split,
        "rows": len(judged.slices),
        "rows_of_other_modalities": manifest.skipped,
        "interval": "bootstrap over groups, 95 %; groups of figshare are its series (a proxy)",
        "tumour": tumour,
        "classes": class_block(judged.slices, card.classes),
        "localisation": localisation_block(judged.slices, judged.single),
        "grade": grade_block(),
    }


def summary(report: dict[str, Any]) -> str:
    """The figures that matter, one a line."""
    tumour, within = report["tumour"], report["tumour"]["within_patients"]
    lines = [f"{report['model']} {report['version']}, split {report['split']}, {report['rows']} slices"]
    lines += [
        f"tumour {name}: {shown(tumour[name])}" for name in ("auc_roc", "sensitivity", "specificity", "ece")
    ]
    lines += [
        f"against healthy people {name}: {shown(tumour['against_healthy'][name])}"
        for name in ("auc_roc", "sensitivity", "specificity")
    ]
    lines += [
        f"inside patients {name}: {shown(within[name])}"
        for name in ("auc_roc", "false_positive_rate_at_sensitivity_090", "false_positive_rate")
        if name in within
    ]
    lines.append(f"classes macro_f1: {shown(report['classes']['macro_f1'])}")
    for method in ("decoder", "grad_cam"):
        block = report["localisation"][method]
        lines += [f"{method} {name}: {shown(value)}" for name, value in block.items()]
    return "\n".join(lines)


def shown(figure: dict[str, float] | None) -> str:
    """A figure with its interval as text."""
    if figure is None:
        return "not defined"
    interval = "" if figure["low"] is None else f" ({figure['low']:.3f} to {figure['high']:.3f})"
    groups = "1 group" if figure["n_groups"] == 1 else f"{figure['n_groups']} groups"
    return f"{figure['value']:.3f}{interval}, {groups}"
