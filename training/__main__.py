"""``python -m training STEP [options]``: from slices on a disk to a model in the registry, step by step."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module


@dataclass(frozen=True, slots=True)
class Step:
    """One step: the module whose ``main`` runs it, and one line for the list of steps."""

    module: str
    summary: str


STEPS: Mapping[str, Step] = {
    "keras-weights": Step("training.fit.keras_weights", "convert ImageNet weights of Keras for train --init"),
    "train": Step("training.fit.train", "train one network for a given time"),
    "export": Step("training.release.export", "put a trained network into the registry, calibrated on val"),
    "ensemble": Step("training.release.ensemble", "put the mean of several networks into the registry"),
    "feature-statistics": Step(
        "training.release.feature_statistics", "describe what training slices look like"
    ),
    "study-rule": Step("training.release.study_rule", "choose the thresholds for whole studies on val"),
    "fusion": Step("training.fusion.train", "train the network that judges CT and MR together"),
    "evaluate": Step("training.evaluators", "figures of a model on the slices of a manifest"),
    "evaluate-ct": Step("training.evaluation.synthetic_masses", "figures of a CT model on synthetic masses"),
    "evaluate-volumes": Step(
        "training.evaluation.volumes", "outcomes of whole volumes, as a worker reports them"
    ),
    "engines": Step("training.release.engines", "choose the engine of this host, int8 among them"),
    "card": Step("training.release.card", "write the model card of an MR model"),
    "card-ct": Step("training.release.card_ct", "write the model card of a CT model"),
    "card-fusion": Step("training.fusion.card", "write the model card of the fusion network"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the step that the first argument names, with the others as its options."""
    given = sys.argv[1:] if arguments is None else arguments
    step = STEPS[_parser().parse_args(given[:1]).step]
    import_module(step.module).main(given[1:])  # only then: most steps import torch


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, STEPS))
    listed = "\n".join(f"  {name:{width}}  {step.summary}" for name, step in STEPS.items())
    parser = argparse.ArgumentParser(
        prog="python -m training",
        usage="%(prog)s STEP [options]",
        description=f"steps, in the order in which they are taken:\n{listed}",
        epilog="The options of a step: python -m training STEP --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("step", choices=STEPS, metavar="STEP", help="one of these")
    return parser


if __name__ == "__main__":
    main()
