"""ONNX Runtime answers as torch does. Exports take many seconds each, so these are no unit tests."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.vision.synthetic import write_weights
from tests.vision.test_engines import of_kind
from tests.vision.test_network import network
from worker.vision.engines import (
    ONNX,
    ONNX_INT8,
    TORCH,
    OnnxEngine,
    allowed,
    read_choice,
    write_choice,
)
from worker.vision.engines.eager import folded
from worker.vision.engines.measure import Trial, choose
from worker.vision.engines.onnx import export_fusion_onnx, export_onnx
from worker.vision.engines.opening import engine_file
from worker.vision.network import ARCHITECTURES, MOBILENET_V2, RESNET50
from worker.vision.network.fusion import FusionNet
from worker.vision.registry import read_cards
from worker.vision.registry.cards import ENSEMBLE
from worker.vision.registry.self_check import drawn_features


@pytest.mark.parametrize("kind", [*ARCHITECTURES, ENSEMBLE])
def test_an_exported_network_answers_as_the_original(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    model, x = of_kind(kind), torch.rand(3, 1, 64, 64)
    with torch.inference_mode():
        wanted = model(x)
    export_onnx(model, 64, tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    found = OnnxEngine(ONNX, tmp_path / "model.onnx", 1)(x)
    for name in wanted._fields:
        assert (getattr(found, name) - getattr(wanted, name)).abs().max() <= 1e-3


def test_an_exported_fusion_answers_as_the_original_whatever_is_given(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    model = FusionNet((RESNET50, MOBILENET_V2)).eval()
    inputs = drawn_features(model)
    with torch.inference_mode():
        wanted = model(*inputs)
    export_fusion_onnx(model, tmp_path / "fusion.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "fusion.onnx", providers=["CPUExecutionProvider"])
    fields = dict(zip(("ct", "mr", "given"), (tensor.numpy() for tensor in inputs), strict=True))
    for name, found in zip(wanted._fields, session.run(list(wanted._fields), fields), strict=True):
        assert np.abs(found - getattr(wanted, name).numpy()).max() <= 1e-3


def test_every_engine_is_measured_and_the_choice_is_kept_for_these_weights_on_this_host(
    tmp_path: Path,
) -> None:
    pytest.importorskip("onnxscript")
    torch.set_num_threads(1)
    folder = write_weights(tmp_path)
    model = read_cards(folder).card("random")
    rng = np.random.default_rng(0)
    slices = rng.random((8, 1, 64, 64), np.float32)
    trial = Trial(slices, lambda scores: float(scores.mean()), slices)
    choice = choose(folded(network(0, MOBILENET_V2)), model, trial, tmp_path / "engines", 1)
    measured = {found.engine: found for found in choice.measured}
    assert measured[TORCH].max_abs_dp == 0
    assert measured[ONNX].max_abs_dp < 1e-3
    assert measured[ONNX_INT8].slices_per_s > 0
    assert measured[ONNX_INT8].auc_loss is not None
    assert engine_file(tmp_path / "engines", model, ONNX_INT8).is_file() == allowed(measured[ONNX_INT8])
    assert measured["cuda"].problem or torch.cuda.is_available()
    write_choice(tmp_path / "engines", choice, 1)
    assert read_choice(tmp_path / "engines", model.sha256, 1) == choice
    assert read_choice(tmp_path / "engines", "0" * 64, 1) is None
    assert read_choice(tmp_path / "engines", model.sha256, 2) is None
