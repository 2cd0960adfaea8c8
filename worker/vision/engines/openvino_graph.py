"""A network's maps as a graph of OpenVINO, made in memory from torch's: no file and no exporter."""

import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import openvino
from openvino import opset15 as ops
from torch import fx, nn
from torch.nn import functional

from worker.vision.engines.tracing import traced_maps
from worker.vision.network import SliceNet


def model_of_maps(network: SliceNet, slices: int, input_px: int) -> openvino.Model:
    """``network.maps`` for slices (``slices``, 1, ``input_px``, ``input_px``), batch norms folded.

    Its constants share torch's weights. Raises ``NotImplementedError`` for an operation that is not known
    here.
    """
    traced = traced_maps(network)
    layers = dict(traced.named_modules())
    parameter = ops.parameter([slices, 1, input_px, input_px], np.float32)
    made: dict[fx.Node, Any] = {}
    for node in traced.graph.nodes:
        inputs = fx.map_arg(node.args, made.__getitem__)
        if node.op == "placeholder":
            made[node] = parameter
        elif node.op == "call_module":
            made[node] = _of(_LAYERS, type(layers[node.target]))(layers[node.target], *inputs)
        elif node.op != "output":
            made[node] = _of(_OPERATIONS, node.target)(*inputs, **node.kwargs)
    return openvino.Model(list(inputs[0]), [parameter])


def _of(table: Mapping[Any, Callable[..., Any]], key: Any) -> Callable[..., Any]:
    if key not in table:
        raise NotImplementedError(f"no operation of OpenVINO is known for {key}")
    return table[key]


def _convolution(layer: nn.Conv2d, x: Any) -> Any:
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise NotImplementedError(f"OpenVINO does not pad as {layer} does")
    weight = layer.weight.detach().contiguous()
    if layer.groups > 1:
        weight = weight.reshape(layer.groups, -1, *weight.shape[1:])
    convolve = ops.group_convolution if layer.groups > 1 else ops.convolution
    padding = list(layer.padding)
    y = convolve(x, _constant(weight.numpy()), list(layer.stride), padding, padding, list(layer.dilation))
    return (
        y if layer.bias is None else ops.add(y, _constant(layer.bias.detach().numpy().reshape(1, -1, 1, 1)))
    )


def _constant(values: np.ndarray[Any, Any]) -> Any:
    return ops.constant(values, shared_memory=True)


def _max_pool(layer: nn.MaxPool2d, x: Any) -> Any:
    stride, padding, dilation, kernel = (
        [number] * 2 if isinstance(number, int) else list(number)
        for number in (layer.stride, layer.padding, layer.dilation, layer.kernel_size)
    )
    return ops.max_pool(x, stride, dilation, padding, padding, kernel).output(0)


def _relu6(x: Any, **_: Any) -> Any:
    return ops.clamp(x, 0.0, 6.0)


def _padded(x: Any, sides: tuple[int, int, int, int], **_: Any) -> Any:
    left, right, top, bottom = sides
    return ops.pad(x, [0, 0, top, left], [0, 0, bottom, right], "constant", np.float32(0))


def _enlarged(x: Any, scale_factor: float, mode: str, align_corners: bool, **_: Any) -> Any:
    if mode != "bilinear" or align_corners:
        raise NotImplementedError(f"no interpolation {mode} with align_corners={align_corners}")
    return ops.interpolate(
        x,
        np.array([scale_factor] * 2, np.float32),
        "linear_onnx",
        "scales",
        coordinate_transformation_mode="half_pixel",
        axes=[2, 3],
    )


_LAYERS: Mapping[type[nn.Module], Callable[..., Any]] = {
    nn.Conv2d: _convolution,
    nn.ReLU: lambda _, x: ops.relu(x),
    nn.ReLU6: lambda _, x: _relu6(x),
    nn.MaxPool2d: _max_pool,
}
_OPERATIONS: Mapping[Any, Callable[..., Any]] = {
    operator.add: ops.add,
    operator.iadd: ops.add,
    operator.sub: lambda x, number: ops.subtract(x, np.float32(number)),
    operator.truediv: lambda x, number: ops.divide(x, np.float32(number)),
    functional.relu6: _relu6,
    functional.pad: _padded,
    functional.interpolate: _enlarged,
    "mean": lambda x, axes: ops.reduce_mean(x, list(axes)),
}
