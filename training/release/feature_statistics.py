"""``python -m training feature-statistics``: the distribution of a model's features over training slices.

Writes ``weights/NAME.features.safetensors``, from which the worker tells how far a slice is from
anything the model has seen. Distances are scaled on the validation split: 0 is their median, 1 lies as far
above their 99th percentile as that lies above the median.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save

from training.data.manifest import Row, grey_images, read
from training.evaluation.synthetic_masses import SECTIONS_EACH, SEEN
from training.options import step_parser
from training.synthetic_ct.hosts import hosts_of
from training.synthetic_ct.samples import cases_of, volume_hosts
from worker.vision.engines import TORCH, Engine, open_engine
from worker.vision.engines.eager import folded
from worker.vision.feature_reference import FeatureReference
from worker.vision.network import Network
from worker.vision.registry import read_cards
from worker.vision.registry.loading import load_network
from worker.vision.series.predict import slice_features
from worker.vision.slices.preprocess import head_box, network_input

ROWS_PER_SOURCE = 150  # as many of a small source as of a large one
AXES = 128  # about a tenth of the slices; more axes would fit their noise
BATCH_SLICES = 32
CT_SEED = 40_000  # of what is put into slices here


def feature_statistics(manifest: Path, model: str, weights_dir: Path, engine: str = TORCH) -> Path:
    """Write the reference file of one model; returns its path."""
    card = read_cards(weights_dir).card(model)
    network = folded(load_network(card, weights_dir))
    runs = open_engine(engine, network, card, None, torch.get_num_threads())
    inputs = ct_inputs if card.modality == "CT" else mr_inputs
    rows = read(manifest, card.modality)
    known = features(runs, inputs(spread(rows.of_split("train")), manifest, card.input_px))
    unscaled = gaussian(known, (*network.feature_channels, *network.deepest_channels))
    distance = unscaled.distance(
        features(runs, inputs(spread(rows.of_split("val")), manifest, card.input_px))
    )
    near, high = np.percentile(distance, (50, 99)).astype(np.float32)
    reference = replace(unscaled, near=np.asarray(near), far=np.asarray(2 * high - near))
    path = weights_dir / f"{model}.features.safetensors"
    path.write_bytes(save({name: np.ascontiguousarray(array) for name, array in asdict(reference).items()}))
    print(f"{path}: distance of validation slices {near:.3f} (median), {high:.3f} (99 %)")
    return path


def gaussian(known: NDArray[np.float32], channels: Sequence[int]) -> FeatureReference:
    """The Gaussian of features (n, channels), of low rank; ``near`` and ``far`` are not set yet.

    Distances to it tell slices unlike those of training (Lee et al., NeurIPS 2018).

    ``channels`` says how many belong to each map: the last and the deepest one of each network.
    """
    blocks = np.split(known, np.cumsum(channels)[:-1], axis=1)
    weights = np.concatenate(
        [np.full(block.shape[1], 1 / np.linalg.norm(block.std(0)), np.float32) for block in blocks]
    )
    mean = (known * weights).mean(0)
    offset = known * weights - mean
    _, singular, axes = np.linalg.svd(offset, full_matrices=False)
    axes = axes[:AXES]
    rest = np.sqrt(np.mean(np.sum((offset - offset @ axes.T @ axes) ** 2, axis=1)))
    deviations = singular[:AXES] / np.sqrt(len(known))
    unit = np.asarray(1, np.float32)
    return FeatureReference(
        weights, mean, axes.astype(np.float16), deviations, np.asarray(rest), 0 * unit, unit
    )


def spread(rows: Sequence[Row]) -> list[Row]:
    """At most ``ROWS_PER_SOURCE`` rows of each source, evenly from its list."""
    sources: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        sources[row.source].append(row)
    return [
        group[i]
        for group in sources.values()
        for i in np.unique(np.linspace(0, len(group) - 1, ROWS_PER_SOURCE).astype(int))
    ]


def mr_inputs(rows: Sequence[Row], _: Path, input_px: int) -> list[NDArray[np.float32]]:
    """All grey images of the rows."""
    return [network_input(grey, head_box(grey), input_px) for row in rows for _, grey in grey_images(row)]


def ct_inputs(rows: Sequence[Row], manifest: Path, input_px: int) -> list[NDArray[np.float32]]:
    """The rows, and sections of the volumes beside the manifest, with and without a mass or a look-alike."""
    random = np.random.default_rng(CT_SEED)
    hosts = [*hosts_of(rows), *volume_hosts(manifest.parent, SECTIONS_EACH, random)]
    cases = [case for host in hosts for case in cases_of(host, random, 1, 1)]
    return [network_input(case.picture, SEEN, input_px) for case in cases]


@torch.inference_mode()
def features(runs: Engine | Network, inputs: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Features (n, channels) of n >= 1 network inputs (1, S, S)."""
    batches = [
        slice_features(runs(torch.from_numpy(np.stack(inputs[start : start + BATCH_SLICES])))).numpy()
        for start in range(0, len(inputs), BATCH_SLICES)
    ]
    return np.concatenate(batches)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = step_parser(
        "feature-statistics",
        "Write the distribution of a model's features over training slices, to recognise unusual slices",
        "--manifest",
        "--model",
        "--weights",
        "--engine",
    )
    options = parser.parse_args(arguments)
    feature_statistics(options.manifest, options.model, options.weights, options.engine)
