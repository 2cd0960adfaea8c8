"""PyTorch in bfloat16 on processors with bfloat16 instructions: weights reordered for oneDNN, layers fused.

Eager PyTorch reorders the weights for each batch and writes the result of every convolution before it adds
the shortcut and applies the activation. oneDNN computes convolution, addition and activation in one operator;
these are the operators of torch's own compiler, which would need a C++ compiler on the host.

Networks with narrow bottlenecks stay in single precision: rounding to bfloat16 in the first layers of
EfficientNet-Lite0 and MobileNetV2 changes probabilities by up to 0.09 (ResNet-50: 0.007).
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from worker.vision.engines.interface import EngineUnavailable
from worker.vision.engines.tracing import traced_maps
from worker.vision.network import RESNET50, Network, SliceNet, SliceOutputs

TORCH_BF16 = "torch-bf16"

Activation = tuple[str, list[float]]  # oneDNN's name, with its parameters
NONE: Activation = ("none", [])
RELU: Activation = ("relu", [])
ACTIVATION_LAYERS: Mapping[type[nn.Module], Activation] = {
    nn.ReLU: RELU,
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
}
ACTIVATION_FUNCTIONS: Mapping[Callable[..., Any], Activation] = {functional.relu6: ("hardtanh", [0.0, 6.0])}
ADDITIONS = (operator.add, operator.iadd)
WIDE = frozenset({RESNET50})  # architectures that bfloat16 does not degrade


class FusedEngine:
    """A network with folded batch norms, fused; the heads and their average are in single precision."""

    name, device = TORCH_BF16, "cpu"

    def __init__(self, network: Network) -> None:
        if not torch.cpu._is_avx512_bf16_supported():
            raise EngineUnavailable("this processor does not compute in bfloat16")
        self.network = network
        self.maps = fused(network)

    @torch.inference_mode()
    def __call__(self, slices: Tensor) -> SliceOutputs:
        maps = self.maps(slices.contiguous(memory_format=torch.channels_last))
        return self.network.heads(*(tensor.float() for tensor in maps))


class FusedConvolution(nn.Module):
    """A convolution, then an optional addition, then an optional activation, in one oneDNN operator.

    Raises ``NotImplementedError`` for a padding that oneDNN does not have.
    """

    def __init__(self, layer: nn.Conv2d, activation: Activation, precision: torch.dtype) -> None:
        super().__init__()
        if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
            raise NotImplementedError(f"oneDNN does not pad as {layer} does")
        self.padding, self.stride, self.dilation = layer.padding, layer.stride, layer.dilation
        self.groups, self.activation, self.precision = layer.groups, activation, precision
        self.weight = torch.ops.mkldnn._reorder_convolution_weight(
            layer.weight.detach().to(precision), self.padding, self.stride, self.dilation, self.groups, None
        )
        self.bias = None if layer.bias is None else layer.bias.detach().to(precision)

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        convolve = torch.ops.mkldnn._convolution_pointwise
        shape = (self.padding, self.stride, self.dilation, self.groups)
        name, numbers = self.activation
        x = x.to(self.precision)
        if added is None:
            result: Tensor = convolve(x, self.weight, self.bias, *shape, name, numbers, "")
        else:
            after = None if name == "none" else name
            result = convolve.binary(
                x, added, self.weight, self.bias, *shape, "add", 1.0, after, numbers, None
            )
        return result


def fused(network: Network) -> fx.GraphModule:
    """``network.maps`` with each convolution fused with what follows it; the network is not changed."""
    members = [module for module in network.modules() if isinstance(module, SliceNet)]
    wide = {id(layer) for member in members if member.architecture in WIDE for layer in member.modules()}
    traced = traced_maps(network)
    layers = dict(traced.named_modules())
    names = (f"fused{number}" for number in count())
    for node in list(traced.graph.nodes):
        layer = layers.get(node.target) if node.op == "call_module" else None
        if isinstance(layer, nn.Conv2d):
            part = _fused_nodes(node, layers)
            precision = torch.bfloat16 if id(layer) in wide else torch.float32
            _replace(part, traced, next(names), FusedConvolution(layer, part.activation, precision))
    traced.graph.lint()
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced


@dataclass(frozen=True, slots=True)
class _FusedNodes:
    """A convolution and the operations to fuse with it: nothing else uses its result."""

    nodes: tuple[fx.Node, ...]  # the convolution first
    added: fx.Node | None
    activation: Activation


def _fused_nodes(node: fx.Node, layers: Mapping[str, nn.Module]) -> _FusedNodes:
    nodes, added = [node], _added(node)
    if added is not None:
        nodes.append(next(iter(node.users)))
    follower = _only_user(nodes[-1])
    activation = NONE if follower is None else _activation(follower, layers)
    # oneDNN's addition is followed by a ReLU or by nothing.
    if follower is None or activation == NONE or (added is not None and activation != RELU):
        return _FusedNodes(tuple(nodes), added, NONE)
    return _FusedNodes((*nodes, follower), added, activation)


def _replace(part: _FusedNodes, traced: fx.GraphModule, name: str, whole: FusedConvolution) -> None:
    first, last = part.nodes[0], part.nodes[-1]
    inputs = (first.args[0],) if part.added is None else (first.args[0], part.added)
    traced.add_submodule(name, whole)
    with traced.graph.inserting_before(last):  # where the added value is available
        last.replace_all_uses_with(traced.graph.call_module(name, inputs))
    for node in reversed(part.nodes):
        traced.graph.erase_node(node)


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _added(node: fx.Node) -> fx.Node | None:
    """The other operand of an addition that alone uses the result of a convolution; else None."""
    after = _only_user(node)
    if after is None or after.op != "call_function" or after.target not in ADDITIONS:
        return None
    others = [operand for operand in after.all_input_nodes if operand is not node]
    return others[0] if len(others) == 1 else None


def _activation(node: fx.Node, layers: Mapping[str, nn.Module]) -> Activation:
    if node.op == "call_module":
        return ACTIVATION_LAYERS.get(type(layers.get(str(node.target))), NONE)  # type: ignore[arg-type]
    if node.op == "call_function":
        return ACTIVATION_FUNCTIONS.get(node.target, NONE)  # type: ignore[arg-type]
    return NONE
