"""The fastest engine of this host for one model, int8 among them: ``python -m training engines``.

``neurotriage engines`` measures the same on drawn slices and so never chooses int8: what that costs shows on
labelled slices only, as AUC on val, and it learns the ranges of its maps from slices of train. The choice and
the file of int8 lie where the worker of this host looks for them, below ``[storage] root``, and hold for its
``[worker] threads``.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from neurotriage.core.settings import load_settings
from neurotriage.core.storage import Storage
from training.data.manifest import read
from training.evaluation.metrics import auc_roc
from training.evaluation.predict import labelled_slices
from training.options import step_parser, use_threads
from worker.vision.engines import Choice, write_choice
from worker.vision.engines.eager import folded
from worker.vision.engines.measure import Trial, choose
from worker.vision.registry import ModelCard, read_cards
from worker.vision.registry.loading import load_network

MAX_VAL, MAX_TRAIN = 480, 96  # slices on which engines are compared, and by which int8 learns its ranges


def labelled_trial(manifest: Path, card: ModelCard) -> Trial:
    """Slices of val with their labels, and slices of train for int8, as the model takes them.

    Raises ValueError where a group of the manifest is in more than one split.
    """
    rows = read(manifest, card.modality)
    slices, truth = labelled_slices(rows.of_split("val"), card.input_px, MAX_VAL)
    calibration, _ = labelled_slices(rows.of_split("train"), card.input_px, MAX_TRAIN)
    return Trial(slices, lambda scores: auc_roc(truth, scores), calibration)


def measure(manifest: Path, model: str, weights_dir: Path) -> Choice:
    """Measure the engines for one model of the registry and keep the choice. Raises BadWeights."""
    settings = load_settings()
    threads, folder = settings.worker.threads, Storage(settings.storage.root).engines
    use_threads(threads)
    card = read_cards(weights_dir).card(model)
    network = folded(load_network(card, weights_dir))
    choice = choose(network, card, labelled_trial(manifest, card), folder, threads)
    write_choice(folder, choice, threads)
    return choice


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = step_parser("engines", __doc__, "--manifest", "--model", "--weights")
    options = parser.parse_args(arguments)
    print(json.dumps(asdict(measure(options.manifest, options.model, options.weights)), indent=1))
