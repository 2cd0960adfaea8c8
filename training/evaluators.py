"""``python -m training evaluate``: a model's figures on any manifest of slices, as JSON."""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from training.evaluation import slices
from training.fusion import evaluate as fusion
from training.options import step_parser, use_threads
from worker.vision.registry.cards import FUSION

Evaluator = Callable[[argparse.Namespace], tuple[dict[str, Any], str]]  # the report, and its summary


def of_slices(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """One network or an ensemble, slice by slice."""
    report = slices.report(options.model, options.manifest, options.split, options.weights, options.plots)
    return report, slices.summary(report)


def of_pairs(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """The fusion network, on pairs and on slices alone."""
    report = fusion.report(options.manifest, options.split, options.weights)
    return report, fusion.summary(report)


EVALUATORS: Mapping[str, Evaluator] = {FUSION: of_pairs}  # by model; every other one judges slices


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = step_parser("evaluate", __doc__, "--manifest", "--split", "--json", "--weights", "--threads")
    parser.add_argument("--model", default="mr", help="name in the registry; mr, ct: what decides by default")
    parser.add_argument("--plots", type=Path, help="folder for ROC, PR, calibration and confusion plots")
    options = parser.parse_args(arguments)
    use_threads(options.threads)
    report, summary = EVALUATORS.get(options.model, of_slices)(options)
    text = json.dumps(report, indent=1)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    print(summary if options.json else text)
