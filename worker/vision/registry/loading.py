"""From a card to its network with weights: imports torch, which reading cards does not."""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from worker.vision.network import ARCHITECTURES, CLASSES, CLASSES_OF, Ensemble, Network, SliceNet
from worker.vision.network.fusion import FusionNet
from worker.vision.registry.cards import BadWeights, Card, FusionCard, ModelCard, verified_file


def load_network(card: ModelCard, weights_dir: Path) -> Network:
    """A network or an ensemble with its weights, float32 on the CPU, in evaluation mode.

    Raises BadWeights where a file is not what its card says, or the card is of another software.
    """
    _check_classes(card, CLASSES_OF.get(card.modality))
    networks = [_slice_net(part, weights_dir) for part in card.networks]
    return Ensemble(networks, mirrored=card.mirrored).eval() if card.members else networks[0]


def load_fusion(card: FusionCard, weights_dir: Path) -> FusionNet:
    """The fusion with its weights, float32 on the CPU, in evaluation mode. Raises BadWeights."""
    _check_classes(card, CLASSES)
    network = FusionNet((card.members["CT"].architecture, card.members["MR"].architecture))
    _fill(network, card, weights_dir)
    return network.eval()


def _slice_net(card: ModelCard, weights_dir: Path) -> SliceNet:
    if card.architecture not in ARCHITECTURES:
        raise BadWeights(
            f"model {card.name} is a {card.architecture}, this software knows {sorted(ARCHITECTURES)}"
        )
    with torch.device("meta"):  # no memory and no random numbers for weights that are replaced
        network = SliceNet(card.architecture)
    _fill(network, card, weights_dir)
    return network.eval()


def _check_classes(card: Card, known: tuple[str, ...] | None) -> None:
    if card.classes != known:
        raise BadWeights(f"model {card.name} has classes {card.classes}, this software knows {known}")


def _fill(network: nn.Module, card: Card, weights_dir: Path) -> None:
    """Take the weights from the file; what is stored in half precision becomes float32."""
    path = verified_file(card, weights_dir)
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: _single(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
            network.load_state_dict(tensors, assign=True)
    except (SafetensorError, RuntimeError) as error:
        raise BadWeights(f"the weights of model {card.name} do not fit this software: {error}") from error


def _single(tensor: Tensor) -> Tensor:
    """A copy: on tensors that lie as in the mapped file, convolutions take 400 MB more."""
    return tensor.to(torch.float32 if tensor.is_floating_point() else tensor.dtype, copy=True)
