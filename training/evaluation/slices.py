"""How well a model tells the slices of a manifest apart, and how well its maps lie on the lesions."""

from pathlib import Path
from typing import Any

import torch

from training.data.manifest import Manifest, Row, read
from training.evaluation.bootstrap import shown
from training.evaluation.cases import Cases, cases
from training.evaluation.deciding import named
from training.evaluation.figures import (
    class_block,
    grade_block,
    localisation_block,
    sequence_block,
    tumour_block,
)
from training.evaluation.predict import predictions
from worker.vision.registry import ModelCard
from worker.vision.registry.loading import load_network


def report(
    model: str, manifest_file: Path, split: str | None, weights_dir: Path, plots: Path | None = None
) -> dict[str, Any]:
    """The report on a split, or on all rows; plots go to a folder. Raises BadWeights."""
    card = named(model, weights_dir)
    manifest = read(manifest_file, card.modality)
    rows = manifest.rows if split is None else manifest.of_split(split)
    judged = judge(rows, card, weights_dir)
    figures = evaluate(judged, card, manifest, split)
    if plots:
        from training.evaluation.plots import plot  # matplotlib is wanted only here

        plot(judged, card, plots)
    return figures


def judge(rows: tuple[Row, ...], card: ModelCard, weights_dir: Path) -> Cases:
    """Run the model over rows."""
    network = load_network(card, weights_dir)
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
