"""Whether a model answers on this host as it did at its export: drawn slices in, stored answers out.

The fusion has no encoder, so it gets drawn features.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.vision.network import Network, SliceOutputs
from worker.vision.network.fusion import FusionNet, channels_of
from worker.vision.registry.cards import BadWeights, FusionCard, ModelCard

# Lesions of the drawn heads: row, column, radius (shares of the side), brightness; the first head has none.
LESIONS = ((0.5, 0.5, 0.0, 0.0), (0.4, 0.35, 0.06, 0.9), (0.55, 0.62, 0.11, 0.8), (0.6, 0.4, 0.15, 0.2))
TOLERANCE = 0.01  # of a logit, a class logit, and of the mask's mean logit


def drawn_slices(input_px: int) -> NDArray[np.float32]:
    """(4, 1, S, S) in 0..1: skull, and brain with ventricles and texture; three of four have a lesion."""
    y, x = (np.mgrid[:input_px, :input_px] + 0.5) / input_px
    radius = np.hypot((y - 0.5) / 0.46, (x - 0.5) / 0.38)
    brain = 0.45 + 0.08 * np.sin(31 * x) * np.sin(27 * y)
    brain = np.where(np.hypot((y - 0.48) / 0.12, (np.abs(x - 0.5) - 0.05) / 0.03) < 1, 0.15, brain)
    head = np.where(radius < 0.85, brain, np.where(radius < 0.93, 0.05, 0.7)) * (radius < 1)
    slices = [
        np.where(np.hypot(y - row, x - column) < size, bright, head) for row, column, size, bright in LESIONS
    ]
    return np.stack(slices)[:, None].astype(np.float32)


@torch.inference_mode()
def answers(network: Network, input_px: int) -> dict[str, tuple[float, ...]]:
    """A network's answers on the drawn slices: logits by name, rounded as they are stored with the card."""
    outputs = network(torch.from_numpy(drawn_slices(input_px)))
    logits = {
        "tumour": outputs.tumour,
        "classes": outputs.classes.flatten(),
        "head": outputs.head,
        "mask": outputs.mask.mean((1, 2, 3)),
    }
    return _rounded(logits)


def drawn_features(network: FusionNet) -> tuple[Tensor, Tensor, Tensor]:
    """CT (4, C), MR (4, C), and (4, 2) which modalities are given: twice both, then CT and MR alone."""
    ct, mr = (
        torch.sin(torch.arange(4 * sum(channels_of(name))).reshape(4, -1) / place).abs()
        for place, name in enumerate(network.architectures, start=2)
    )
    return ct, mr, torch.tensor([[True, True], [True, True], [True, False], [False, True]])


@torch.inference_mode()
def fusion_answers(network: FusionNet) -> dict[str, tuple[float, ...]]:
    """A fusion's answers on the drawn features: logits by name, rounded as they are stored with the card."""
    outputs = network(*drawn_features(network))
    return _rounded({name: tensor.flatten() for name, tensor in outputs._asdict().items()})


def _rounded(logits: Mapping[str, Tensor]) -> dict[str, tuple[float, ...]]:
    return {name: tuple(round(float(value), 4) for value in tensor) for name, tensor in logits.items()}


def check_fusion(network: FusionNet, card: FusionCard) -> None:
    """Raises BadWeights where a fusion's answers are not those that are stored with its card."""
    _check(fusion_answers(network), card.answers, card.name)


def largest_dp(run: Callable[[Tensor], SliceOutputs], card: ModelCard) -> float:
    """Largest difference of the drawn slices' tumour probabilities from those at the model's export.

    ``run``: an engine, slices (N, 1, S, S) in. Infinite where no answers are stored with the card.
    """
    stored = torch.tensor(card.answers.get("tumour", ()), dtype=torch.float64)
    tumour = run(torch.from_numpy(drawn_slices(card.input_px))).tumour.double()
    if tumour.shape != stored.shape:
        return float("inf")
    both = torch.sigmoid(torch.stack([tumour, stored]) / card.temperature)
    return float((both[0] - both[1]).abs().max())


def check(network: Network, card: ModelCard) -> None:
    """Raises BadWeights where a network's answers are not those that are stored with its card."""
    _check(answers(network, card.input_px), card.answers, card.name)


def _check(current: Mapping[str, Sequence[float]], stored: Mapping[str, Sequence[float]], name: str) -> None:
    if not stored:
        raise BadWeights(f"the registry holds no answers of model {name} to check against")
    difference = _largest_difference(current, stored)
    if not difference <= TOLERANCE:
        raise BadWeights(
            f"model {name} does not answer as it did at its export: a logit differs by {difference:.3f}"
        )


def _largest_difference(
    current: Mapping[str, Sequence[float]], stored: Mapping[str, Sequence[float]]
) -> float:
    """Infinite where the two do not have the same names and lengths."""
    if {k: len(v) for k, v in current.items()} != {k: len(v) for k, v in stored.items()}:
        return float("inf")
    return max(abs(a - b) for name in current for a, b in zip(current[name], stored[name], strict=True))
