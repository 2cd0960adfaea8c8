"""ImageNet weights in Keras's way say the same in torchvision's."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from training.__main__ import main
from training.fit import keras_weights
from training.fit.keras_weights import KERAS_EPS, RGB_MEAN, RGB_STD, TORCH_EPS, read_layers

pytestmark = pytest.mark.unit


Layers = Callable[[np.random.Generator], dict[str, np.ndarray]]  # type: ignore[type-arg]


def _layers(
    random: np.random.Generator, name: str, norm: str, shape: tuple[int, ...]
) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    channels = shape[2] if "depthwise" in name else shape[3]
    kernel = "depthwise_kernel" if "depthwise" in name else "kernel"
    made = {f"{name}/{kernel}": random.normal(size=shape)}
    for part in ("gamma", "beta", "moving_mean"):
        made[f"{norm}/{part}"] = random.normal(size=channels)
    return made | {f"{norm}/moving_variance": random.uniform(0.5, 900, channels)}


def _mobilenet_layers(random: np.random.Generator) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    layers = _layers(random, "Conv1", "bn_Conv1", (3, 3, 3, 4)) | _layers(
        random, "Conv_1", "Conv_1_bn", (1, 1, 4, 4)
    )
    for block in range(17):
        name = f"block_{block}" if block else "expanded_conv"
        if block:
            layers |= _layers(random, f"{name}_expand", f"{name}_expand_BN", (1, 1, 4, 4))
        layers |= _layers(random, f"{name}_depthwise", f"{name}_depthwise_BN", (3, 3, 4, 1))
        layers |= _layers(random, f"{name}_project", f"{name}_project_BN", (1, 1, 4, 4))
    return layers


def _normed(x: torch.Tensor, tensors: dict[str, torch.Tensor], norm: str) -> torch.Tensor:
    parts = [tensors[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    return functional.batch_norm(x, *parts, eps=TORCH_EPS)


def test_a_convolution_with_a_bias_answers_the_same_without() -> None:
    random = np.random.default_rng(0)
    layers = _layers(random, "c", "n", (3, 3, 4, 5)) | {"c/bias": random.normal(size=5)}
    ours = keras_weights._convolution(layers, "c", "n", "conv", "norm")
    x = torch.from_numpy(random.normal(size=(2, 4, 8, 8))).float()
    theirs = functional.conv2d(
        x,
        torch.from_numpy(layers["c/kernel"].transpose(3, 2, 0, 1)).float(),
        torch.from_numpy(layers["c/bias"]).float(),
    )
    parts = [
        torch.from_numpy(layers[f"n/{p}"]).float()
        for p in ("moving_mean", "moving_variance", "gamma", "beta")
    ]
    expected = functional.batch_norm(theirs, *parts, eps=KERAS_EPS)
    assert torch.allclose(
        _normed(functional.conv2d(x, ours["conv.weight"]), ours, "norm"), expected, atol=1e-4
    )


def test_the_first_convolution_takes_normalised_red_green_blue() -> None:
    random = np.random.default_rng(1)
    layers = _mobilenet_layers(random)
    ours = keras_weights.mobilenet_v2(layers)
    picture = random.uniform(0, 1, (1, 3, 9, 9))
    theirs = functional.conv2d(
        torch.from_numpy(picture * 2 - 1).float(),
        torch.from_numpy(layers["Conv1/kernel"].transpose(3, 2, 0, 1)).float(),
    )
    parts = [
        torch.from_numpy(layers[f"bn_Conv1/{p}"]).float()
        for p in ("moving_mean", "moving_variance", "gamma", "beta")
    ]
    expected = functional.batch_norm(theirs, *parts, eps=KERAS_EPS)
    normalised = (picture - RGB_MEAN[None, :, None, None]) / RGB_STD[None, :, None, None]
    seen = functional.conv2d(torch.from_numpy(normalised).float(), ours["features.0.0.weight"])
    assert torch.allclose(_normed(seen, ours, "features.0.1"), expected, atol=1e-4)


def test_every_parameter_of_torchvisions_mobilenet_gets_a_value() -> None:
    from training.fit.initial_weights import _of_torchvision
    from worker.vision.network import MOBILENET_V2, SliceNet

    names = set(SliceNet(MOBILENET_V2).encoder.state_dict())
    found = _of_torchvision(
        keras_weights.mobilenet_v2(_mobilenet_layers(np.random.default_rng(2))), MOBILENET_V2
    )
    assert set(found) == names


def _resnet(random: np.random.Generator) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    """Layers by Keras's names, with a few channels each; ResNet-50's blocks and their shortcuts."""
    layers = _layers(random, "conv1", "bn_conv1", (7, 7, 3, 4)) | {"conv1/bias": random.normal(size=4)}
    for stage, blocks in keras_weights.RESNET_BLOCKS.items():
        for block in "abcdef"[:blocks]:
            for branch in ("2a", "2b", "2c", *(("1",) if block == "a" else ())):
                name = f"{stage}{block}_branch{branch}"
                layers |= _layers(random, f"res{name}", f"bn{name}", (1, 1, 4, 4))
    return layers


def test_every_parameter_of_torchvisions_resnet_gets_a_value() -> None:
    from training.fit.initial_weights import _of_torchvision
    from worker.vision.network import RESNET50, SliceNet

    names = set(SliceNet(RESNET50).encoder.state_dict())
    converted = _of_torchvision(keras_weights.resnet50(_resnet(np.random.default_rng(2))), RESNET50)
    assert set(converted) == names


def test_the_first_convolution_of_resnet_takes_normalised_red_green_blue() -> None:
    """Keras feeds blue, green, red in 0..255 less their means."""
    random = np.random.default_rng(3)
    layers = _resnet(random)
    ours = keras_weights.resnet50(layers)
    picture = random.uniform(0, 1, (1, 3, 12, 12))
    caffe = 255 * picture[:, ::-1] - keras_weights.CAFFE_BGR_MEAN[None, :, None, None]
    theirs = functional.conv2d(
        torch.from_numpy(caffe.copy()).float(),
        torch.from_numpy(layers["conv1/kernel"].transpose(3, 2, 0, 1).copy()).float(),
        torch.from_numpy(layers["conv1/bias"]).float(),
    )
    parts = [
        torch.from_numpy(layers[f"bn_conv1/{p}"]).float()
        for p in ("moving_mean", "moving_variance", "gamma", "beta")
    ]
    expected = functional.batch_norm(theirs, *parts, eps=KERAS_EPS)
    normalised = (picture - RGB_MEAN[None, :, None, None]) / RGB_STD[None, :, None, None]
    seen = functional.conv2d(torch.from_numpy(normalised).float(), ours["conv1.weight"])
    torch.testing.assert_close(_normed(seen, ours, "bn1"), expected, atol=2e-2, rtol=1e-3)


@pytest.mark.parametrize(("name", "layers"), [("resnet50", _resnet), ("mobilenet-v2", _mobilenet_layers)])
def test_the_step_writes_what_a_run_begins_with(name: str, layers: Layers, tmp_path: Path) -> None:
    """From a TensorFlow.js folder to a file of torchvision's names, all of them finite in half precision."""
    folder, out = tmp_path / "package", tmp_path / "out.safetensors"
    folder.mkdir()
    _write_shard(folder, layers(np.random.default_rng(4)))
    main(["keras-weights", name, str(folder), str(out)])
    tensors = load_file(out)
    assert keras_weights.READERS[name](read_layers(folder)).keys() == tensors.keys()
    assert all(torch.isfinite(tensor.half()).all() for tensor in tensors.values())


def _write_shard(folder: Path, layers: dict[str, np.ndarray]) -> None:  # type: ignore[type-arg]
    """A layers model with all of its tensors in one shard."""
    weights = [
        {"name": name, "shape": list(values.shape), "dtype": "float32"} for name, values in layers.items()
    ]
    (folder / "all.bin").write_bytes(b"".join(values.astype("<f4").tobytes() for values in layers.values()))
    document = {"weightsManifest": [{"paths": ["all.bin"], "weights": weights}]}
    (folder / "model.json").write_text(json.dumps(document), encoding="utf-8")


def test_a_model_is_read_from_its_shards(tmp_path: Path) -> None:
    values = np.arange(6, dtype="<f4")
    (tmp_path / "a").write_bytes(values.tobytes()[:10])
    (tmp_path / "b").write_bytes(values.tobytes()[10:])
    entry = {"name": "x", "shape": [2, 3], "dtype": "float32"}
    manifest = {"weightsManifest": [{"paths": ["a", "b"], "weights": [entry]}]}
    (tmp_path / "model.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert (read_layers(tmp_path)["x"] == values.reshape(2, 3)).all()


def test_quantised_weights_are_refused(tmp_path: Path) -> None:
    entry = {"name": "x", "shape": [1], "dtype": "float32", "quantization": {"dtype": "uint8"}}
    (tmp_path / "a").write_bytes(b"\0")
    manifest = {"weightsManifest": [{"paths": ["a"], "weights": [entry]}]}
    (tmp_path / "model.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(ValueError, match="x is not stored as float32"):
        read_layers(tmp_path)
