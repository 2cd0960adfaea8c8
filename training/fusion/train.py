"""``python -m training fusion``: the fusion network on the frozen encoders of two networks of the registry.

Class heads and projections learn together, with modality dropout; then the experimental heads (stage and
survival) on the frozen embedding, so that they change no class. Writes ``weights/fusion.safetensors`` in half
precision and the card in the registry, calibrated on val.
"""

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training.data.samples import CELL_SHARES, OTHER_CELL_SHARE, UNLABELLED
from training.fusion.export import fusion_entry
from training.fusion.features import (
    Encoder,
    Features,
    PairFeatures,
    Scale,
    encoder,
    features_of,
    fold,
    scaled,
    without,
)
from training.fusion.pairs import ALONE, REAL, SYNTHETIC, Pair, pairs_of
from training.fusion.patients import train_experiments
from training.options import step_parser, use_threads
from worker.vision.network.fusion import FusionNet, tumour_logit

KIND_SHARES = {(SYNTHETIC, True): 0.45, (ALONE, True): 0.35, (ALONE, False): 0.15, (REAL, True): 0.05}
DROPPED = 0.25  # share of the pairs of which the CT is left out, and of which the MR is
BATCH, STEPS, LOOK_EVERY = 256, 480, 40
RATE, DECAY = 1e-3, 1e-1
BLIND = 0.5  # share of the features that a step does not see: the encoders know the training slices by heart
SMOOTHING = 0.05  # of the labels
SEED = 7

log = logging.getLogger("training.fusion")


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The labels of each row of ``Features``, and how often it is drawn."""

    target: Tensor  # (rows,) index into CLASSES, or UNLABELLED
    tumour: Tensor  # (rows,) 1, 0 or UNLABELLED
    chance: NDArray[np.float64]  # (rows,) of being drawn


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = step_parser("fusion", __doc__, "--manifest", "--version", "--engine", "--weights", "--threads")
    parser.add_argument(
        "--ct", default="ct-detector", help="network of the registry whose encoder is used for CT"
    )
    parser.add_argument("--mr", default="mr-classifier", help="the same for MR")
    parser.add_argument(
        "--views", type=int, default=2, help="of each training picture; the first is not augmented"
    )
    parser.add_argument("--steps", type=int, default=STEPS, help="of the optimiser")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    use_threads(options.threads)
    torch.manual_seed(SEED)
    encoders = (
        encoder(options.ct, "CT", options.weights, options.engine),
        encoder(options.mr, "MR", options.weights, options.engine),
    )
    pairs = tuple(pairs_of(options.manifest, split, encoders[1].stored_px) for split in ("train", "val"))
    log.info("%d pairs and slices to train on, %d of val", *map(len, pairs))
    of_train, of_val = (
        _features(encoders, split, views) for split, views in zip(pairs, (options.views, 1), strict=True)
    )
    scales = Scale.of(of_train.ct), Scale.of(of_train.mr)
    train = PairFeatures(pairs[0], scaled(of_train, scales))
    val = PairFeatures(pairs[1], scaled(of_val, scales))
    network = trained(encoders, train, val, options.steps)
    train_experiments(network, train, val)
    fold(network, scales)
    card = fusion_entry(network, encoders, PairFeatures(pairs[1], of_val), options.version, options.weights)
    print(json.dumps(card, indent=1))


def _features(encoders: tuple[Encoder, Encoder], pairs: Sequence[Pair], views: int) -> Features:
    begun = perf_counter()
    features = features_of(pairs, encoders, views)
    seconds = perf_counter() - begun
    log.info("%d CT and %d MR pictures seen in %.0f s", len(features.ct), len(features.mr), seconds)
    return features


def trained(
    encoders: tuple[Encoder, Encoder], train: PairFeatures, val: PairFeatures, steps: int
) -> FusionNet:
    """Projections and class head on scaled features; of all looks at val the best is kept."""
    network = FusionNet((encoders[0].card.architecture, encoders[1].card.architecture))
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    truth, val_truth = truth_of(train), truth_of(val)
    random = np.random.default_rng(SEED)
    best, kept = float("inf"), deepcopy(network.state_dict())
    for step in range(1, steps + 1):
        network.train()
        rows = torch.from_numpy(random.choice(len(truth.chance), BATCH, p=truth.chance))
        given = dropped(train.features.given[rows])
        ct, mr = (functional.dropout(part, BLIND) for part in train.features.inputs(rows))
        loss = class_losses(network(ct, mr, given).classes, truth, rows, SMOOTHING).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if step % LOOK_EVERY == 0 or step == steps:
            on_val = val_loss(network.eval(), val, val_truth)
            log.info("step %d loss %.4f val %.4f", step, loss.item(), on_val)
            if on_val < best:
                best, kept = on_val, deepcopy(network.state_dict())
    network.load_state_dict(kept)
    return network.eval()


def truth_of(known: PairFeatures) -> Truth:
    """Targets, and chances by which kinds, sources and tumours have their shares."""
    pairs = [known.pairs[place] for place in known.features.pair.tolist()]
    cells = [(pair.kind, bool(pair.mr), *pair.cell) for pair in pairs]
    counts = Counter(cells)
    share = {cell: CELL_SHARES.get(cell[2:], OTHER_CELL_SHARE) for cell in counts}
    whole: dict[tuple[str, bool], float] = defaultdict(float)
    for cell in counts:
        whole[cell[:2]] += share[cell]
    chance = np.array(
        [KIND_SHARES[cell[:2]] * share[cell] / whole[cell[:2]] / counts[cell] for cell in cells]
    )
    return Truth(
        torch.tensor([UNLABELLED if pair.target is None else pair.target for pair in pairs]),
        torch.tensor([UNLABELLED if pair.tumour is None else int(pair.tumour) for pair in pairs]),
        chance / chance.sum(),
    )


def dropped(given: Tensor) -> Tensor:
    """Of pairs (n, 2) some lose their CT and some their MR; what is alone stays."""
    both = given.all(1)
    draw = torch.rand(len(given))
    lost = torch.stack([draw < DROPPED, (draw >= DROPPED) & (draw < 2 * DROPPED)], 1)
    return given & ~(lost & both[:, None])


def class_losses(classes: Tensor, truth: Truth, rows: Tensor, smoothing: float = 0.0) -> Tensor:
    """(n,) cross entropy where the class is known; where only a tumour is, that of tumour or none."""
    target, tumour = truth.target[rows], truth.tumour[rows]
    exact = functional.cross_entropy(
        classes, target, reduction="none", ignore_index=UNLABELLED, label_smoothing=smoothing
    )
    coarse = functional.softplus(-tumour_logit(classes)) * ((target == UNLABELLED) & (tumour == 1))
    return exact + coarse


@torch.inference_mode()
def val_loss(network: FusionNet, val: PairFeatures, truth: Truth) -> float:
    """Mean over val by the chances of training, of pairs whole and with either part left out."""
    rows = torch.arange(len(truth.target))
    losses = [
        class_losses(
            network(*val.features.inputs(rows), without(val.features.given, out)).classes, truth, rows
        )
        for out in (None, 0, 1)
    ]
    return float(torch.stack(losses).mean(0).double() @ torch.from_numpy(truth.chance))
