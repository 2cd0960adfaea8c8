"""PyTorch as an engine, eager and channels last; on the CPU it is the reference."""

from copy import deepcopy
from itertools import pairwise

import torch
from torch import Tensor, nn

from worker.vision.engines.interface import EngineUnavailable
from worker.vision.network import Network, SliceOutputs

TORCH, CUDA = "torch", "cuda"


def folded(network: Network) -> Network:
    """The network in evaluation mode, each batch norm folded into the convolution before it, in place."""
    network.eval()
    for module in list(network.modules()):
        for (_, layer), (after, norm) in pairwise(list(module.named_children())):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                _fold(layer, norm)
                setattr(module, after, nn.Identity())
    return network


@torch.no_grad()
def _fold(layer: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """The arithmetic of ``torch.nn.utils.fusion``, which makes a second copy of every weight."""
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise ValueError("a batch norm without running statistics cannot be folded")
    rescale = torch.rsqrt(variance + norm.eps)
    layer.weight.mul_((norm.weight * rescale).reshape(-1, 1, 1, 1))
    bias = torch.zeros_like(mean) if layer.bias is None else layer.bias
    layer.bias = nn.Parameter((bias - mean) * rescale * norm.weight + norm.bias)


class TorchEngine:
    """A network on one device.

    Heads and pooling run in single precision, encoder and decoder on CUDA in bfloat16.
    """

    def __init__(self, name: str, network: Network) -> None:
        if name == CUDA and not torch.cuda.is_available():
            raise EngineUnavailable("there is no GPU that torch can use")
        self.name = name
        self.device = "cuda" if name == CUDA else "cpu"
        own = deepcopy(network) if name == CUDA else network  # the heads are needed on the CPU too
        self.network = own.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def __call__(self, slices: Tensor) -> SliceOutputs:
        x = slices.to(self.device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.name == CUDA):
            maps = self.network.maps(x)
        outputs = self.network.heads(*(tensor.float() for tensor in maps))
        return SliceOutputs(*(tensor.cpu() for tensor in outputs))
