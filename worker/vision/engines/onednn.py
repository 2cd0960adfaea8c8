"""PyTorch in bfloat16 for processors that multiply it: weights laid out for oneDNN once, layers fused.

Eager PyTorch lays out the weights anew for each batch and writes every convolution's result before it adds
the shortcut and clamps it. oneDNN does a convolution, the addition after it and the activation in one go;
these are the operators that torch's own compiler uses, which would need a C++ compiler on the host.

Networks of thin bottlenecks stay in single precision: the first layers of EfficientNet-Lite0 and MobileNetV2
round so much in bfloat16 that probabilities move by up to 0.09 (ResNet-50: 0.007).
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
from worker.vision.network import RESNET50, Network, SliceNet, SliceOutputs

TORCH_BF16 = "torch-bf16"

Activation = tuple[str, list[float]]  # in oneDNN's words, with its numbers
NONE: Activation = ("none", [])
RELU: Activation = ("relu", [])
ACTIVATION_LAYERS: Mapping[type[nn.Module], Activation] = {
    nn.ReLU: RELU,
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
}
ACTIVATION_FUNCTIONS: Mapping[Callable[..., Any], Activation] = {functional.relu6: ("hardtanh", [0.0, 6.0])}
ADDITIONS = (operator.add, operator.iadd)
WIDE = frozenset({RESNET50})  # architectures that bfloat16 does not harm


class FusedEngine:
    """A network whose batch norms are folded; its heads, and what they average, are in single precision."""

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
    """A convolution, an addition after it where there is one, and an activation where there is one."""

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


class _Maps(nn.Module):
    """What costs the time, as a module of its own, so that it can be traced."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.network.maps(x)


def fused(network: Network) -> fx.GraphModule:
    """``network.maps`` with every convolution fused with what follows it; the network stays as it is."""
    members = [module for module in network.modules() if isinstance(module, SliceNet)]
    wide = {id(layer) for one in members if one.architecture in WIDE for layer in one.modules()}
    traced = fx.symbolic_trace(_Maps(network))
    layers = dict(traced.named_modules())
    for node in list(traced.graph.nodes):
        if node.op == "call_module" and isinstance(layers[node.target], nn.Identity):
            node.replace_all_uses_with(node.args[0])
            traced.graph.erase_node(node)
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
    """A convolution and what is done with its result alone."""

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
    with traced.graph.inserting_before(last):  # by then what is added is there
        last.replace_all_uses_with(traced.graph.call_module(name, inputs))
    for node in reversed(part.nodes):
        traced.graph.erase_node(node)


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _added(node: fx.Node) -> fx.Node | None:
    """What is added to a convolution's result and to nothing else of it."""
    after = _only_user(node)
    if after is None or after.op != "call_function" or after.target not in ADDITIONS:
        return None
    others = [one for one in after.all_input_nodes if one is not node]
    return others[0] if len(others) == 1 else None


def _activation(node: fx.Node, layers: Mapping[str, nn.Module]) -> Activation:
    if node.op == "call_module":
        return ACTIVATION_LAYERS.get(type(layers.get(str(node.target))), NONE)  # type: ignore[arg-type]
    if node.op == "call_function":
        return ACTIVATION_FUNCTIONS.get(node.target, NONE)  # type: ignore[arg-type]
    return NONE
