"""Every engine says what eager torch says, and the choice follows from what was measured."""

import json
import operator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.vision.synthetic import write_weights
from tests.vision.test_network import ensemble, network
from training.release.export import enter
from worker.vision.engines import (
    ONNX,
    ONNX_INT8,
    TORCH,
    TORCH_BF16,
    Choice,
    EngineUnavailable,
    FusedEngine,
    Measurement,
    TorchEngine,
    open_engine,
    write_choice,
)
from worker.vision.engines.choice import fastest
from worker.vision.engines.eager import folded
from worker.vision.engines.onednn import fused
from worker.vision.engines.opening import engine_file
from worker.vision.model import EngineRequest
from worker.vision.models import load_models
from worker.vision.network import ARCHITECTURES, RESNET50, Network
from worker.vision.registry import read_cards
from worker.vision.registry.cards import ENSEMBLE
from worker.vision.registry.self_check import drawn_slices


def of_kind(kind: str) -> Network:
    return ensemble(mirrored=True) if kind == ENSEMBLE else network(0, kind)


@pytest.mark.parametrize("kind", [*ARCHITECTURES, ENSEMBLE])
def test_folding_the_batch_norms_changes_nothing(kind: str) -> None:
    model, x = of_kind(kind), torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        wanted, found = model(x), TorchEngine(TORCH, folded(model))(x)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.skipif(not torch.cpu._is_avx512_bf16_supported(), reason="this processor has no bfloat16")
@pytest.mark.parametrize("kind", [*ARCHITECTURES, ENSEMBLE])
def test_fused_layers_answer_as_the_original_which_stays_as_it_is(kind: str) -> None:
    model, x = folded(of_kind(kind)), torch.rand(2, 1, 64, 64)
    before = TorchEngine(TORCH, model)(x)
    engine = FusedEngine(model)
    found = engine(x)
    rounding = 0.05 if kind in (RESNET50, ENSEMBLE) else 1e-4
    for ours, theirs in zip(found, before, strict=True):
        assert ours.dtype == torch.float32
        assert (ours - theirs).abs().max() <= rounding * theirs.abs().max()
    for ours, theirs in zip(TorchEngine(TORCH, model)(x), before, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.skipif(not torch.cpu._is_avx512_bf16_supported(), reason="this processor has no bfloat16")
def test_no_shortcut_of_a_resnet_and_no_activation_is_left_to_itself() -> None:
    layers = fused(folded(network(0, RESNET50)))
    alone = [node.target for node in layers.graph.nodes if node.op in ("call_function", "call_method")]
    assert operator.iadd not in alone
    assert not any("relu" in str(target) for target in alone)
    assert not any(isinstance(layer, nn.Conv2d | nn.ReLU | nn.ReLU6) for layer in layers.modules())


def test_int8_is_allowed_only_where_labels_say_that_little_is_lost() -> None:
    torch_, int8 = Measurement(TORCH, 10.0, 0.0), Measurement(ONNX_INT8, 60.0, 0.02, 0.004)
    assert fastest([torch_, int8]) == ONNX_INT8
    assert fastest([torch_, replace(int8, auc_loss=None)]) == TORCH
    assert fastest([torch_, replace(int8, auc_loss=0.006)]) == TORCH
    assert fastest([torch_, replace(int8, max_abs_dp=0.04)]) == TORCH
    assert fastest([torch_, Measurement(TORCH_BF16, 30.0, 0.011)]) == TORCH
    assert fastest([torch_, Measurement(TORCH_BF16, 30.0, 0.009)]) == TORCH_BF16
    assert fastest([torch_, Measurement(ONNX, 90.0, 0.0, problem="not installed")]) == TORCH


def chosen(engine: str, sha256: str) -> Choice:
    return Choice("random", sha256, "", engine, (Measurement(engine, 1.0, 0.0),))


def test_what_was_measured_decides_and_a_setting_overrides_it(tmp_path: Path) -> None:
    folder = write_weights(tmp_path)
    engines = tmp_path / "engines"

    def engine(name: str) -> str:
        model = load_models(folder, threads=1, engine=EngineRequest(name, engines)).of("MR")
        assert model is not None
        return model.engine.name

    unmeasured = "cuda" if torch.cuda.is_available() else TORCH
    assert engine("auto") == unmeasured
    write_choice(engines, chosen(TORCH_BF16, read_cards(folder).card("random").sha256), 1)
    if torch.cpu._is_avx512_bf16_supported():
        assert engine("auto") == TORCH_BF16
    assert engine(TORCH) == TORCH


@pytest.mark.skipif(not torch.cpu._is_avx512_bf16_supported(), reason="this processor has no bfloat16")
@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU comes first")
def test_where_nobody_measured_bfloat16_is_taken_if_it_answers_as_at_the_export(tmp_path: Path) -> None:
    folder = write_weights(tmp_path)

    def engine(name: str = "auto") -> str:
        return load_models(folder, threads=1, engine=EngineRequest(name)).required("MR").engine.name

    assert engine() == TORCH, "nothing to hold it against"
    enter(read_cards(folder).card("random"), folder)
    assert engine() == TORCH_BF16
    assert engine(TORCH) == TORCH
    registry = folder / "registry.json"
    document = json.loads(registry.read_text())
    document["models"][0]["answers"]["tumour"][0] += 1
    registry.write_text(json.dumps(document))
    assert engine() == TORCH


def test_an_engine_that_cannot_run_here_is_replaced_and_the_result_says_so(tmp_path: Path) -> None:
    folder = write_weights(tmp_path)
    models = load_models(folder, threads=1, engine=EngineRequest(ONNX_INT8, tmp_path / "engines"))
    model = models.of("MR")
    assert model is not None
    assert model.engine.name != ONNX_INT8
    assert any("instead of onnxruntime-int8" in text for text in models.degradations())


def test_a_damaged_engine_file_is_no_engine(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    folder = write_weights(tmp_path)
    model = read_cards(folder).card("random")
    engine_file(tmp_path, model, ONNX).write_bytes(b"no model")
    with pytest.raises(EngineUnavailable, match="cannot use"):
        open_engine(ONNX, network(), model, tmp_path, 1)


def test_drawn_slices_show_heads_with_and_without_a_lesion() -> None:
    slices = drawn_slices(64)
    assert slices.shape == (4, 1, 64, 64)
    assert slices.dtype == np.float32
    assert (slices.min(), slices.max()) == (0, pytest.approx(0.9))
    assert all(not np.array_equal(slices[0], other) for other in slices[1:])
