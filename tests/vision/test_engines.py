"""Every engine says what eager torch says, and the choice follows from what was measured."""

import operator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.vision.synthetic import write_weights
from tests.vision.test_network import ensemble, network
from worker.vision.engines import (
    ONNX,
    ONNX_INT8,
    OPENVINO,
    OPENVINO_BF16,
    TORCH,
    TORCH_BF16,
    Choice,
    EngineUnavailable,
    FusedEngine,
    Measurement,
    OpenVinoEngine,
    TorchEngine,
    exact_together,
    open_engine,
    read_choice,
    write_choice,
)
from worker.vision.engines.choice import fastest
from worker.vision.engines.eager import folded
from worker.vision.engines.measure import QUICK
from worker.vision.engines.members import MemberEngines
from worker.vision.engines.onednn import fused
from worker.vision.engines.opening import engine_file
from worker.vision.model import EngineRequest
from worker.vision.models import load_models
from worker.vision.network import ARCHITECTURES, MOBILENET_V2, RESNET50, Network, SliceOutputs
from worker.vision.registry import ModelCard, read_cards
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
    # Untrained weights: bfloat16 keeps 8 bits, and 50 layers add up to .06 on AVX512-BF16.
    rounding = 0.1 if kind in (RESNET50, ENSEMBLE) else 1e-4
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

    write_choice(engines, chosen(TORCH, read_cards(folder).card("random").sha256), 1)
    assert engine("auto") == TORCH
    write_choice(engines, chosen(OPENVINO, read_cards(folder).card("random").sha256), 1)
    assert engine("auto") == OPENVINO
    assert engine(TORCH) == TORCH


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU comes first")
def test_where_nobody_measured_the_first_process_does_and_the_next_one_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, engines = write_weights(tmp_path), tmp_path / "engines"

    def engine() -> str:
        models = load_models(folder, threads=1, engine=EngineRequest(folder=engines))
        return models.required("MR").engine.name

    first = engine()
    kept = read_choice(engines, read_cards(folder).card("random").sha256, 1)
    assert kept is not None
    assert first == kept.engine == fastest(kept.measured)
    assert {measured.engine for measured in kept.measured} == set(QUICK.engines)
    monkeypatch.setattr("worker.vision.engines.best.choose", None)
    assert engine() == first
    assert load_models(folder, threads=1).required("MR").engine.name == TORCH, "no folder to keep a choice in"


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_openvino_answers_as_torch_for_any_number_of_slices(kind: str, tmp_path: Path) -> None:
    model, x = folded(network(0, kind)), torch.rand(6, 1, 64, 64)
    before = TorchEngine(TORCH, model)(x)
    engine = OpenVinoEngine(OPENVINO, model, 64, tmp_path, 1)
    for slices in (1, 4, 6):
        for ours, theirs in zip(engine(x[:slices]), before, strict=True):
            torch.testing.assert_close(ours, theirs[:slices], rtol=1e-3, atol=1e-3)
    assert not list(tmp_path.iterdir()), "the file of the weights has no name"
    for ours, theirs in zip(TorchEngine(TORCH, model)(x), before, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_bfloat16_is_refused_where_it_changes_answers() -> None:
    with pytest.raises(EngineUnavailable, match="changes the answers"):
        OpenVinoEngine(OPENVINO_BF16, folded(network(0, MOBILENET_V2)), 64, None, 1)


def test_members_of_an_ensemble_run_on_engines_of_their_own_and_answer_as_one() -> None:
    model, x = ensemble(mirrored=True), torch.rand(3, 1, 64, 64)
    with torch.inference_mode():
        wanted = model(x)
    folded(model)
    first, *others = model.networks
    engines = [OpenVinoEngine(OPENVINO, first, 64, None, 1), *(TorchEngine(TORCH, each) for each in others)]
    together = MemberEngines(model, engines)
    assert (together.name, together.device) == ("openvino+torch", "cpu")
    for ours, theirs in zip(together(x), wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


class Told:
    """An engine whose tumour logits are always one number."""

    name, device = OPENVINO, "cpu"

    def __init__(self, logit: float) -> None:
        self.logit = logit

    def __call__(self, slices: torch.Tensor) -> SliceOutputs:
        return SliceOutputs(torch.full((len(slices),), self.logit), *[torch.zeros(0)] * 6)


def test_members_exact_one_by_one_must_be_so_as_an_ensemble() -> None:
    card = ModelCard(
        name="pair",
        version="1",
        file="",
        sha256="0",
        modality="MR",
        input_px=64,
        temperature=1.0,
        architecture=ENSEMBLE,
        answers={"tumour": (0.0,) * 4},
    )
    assert exact_together(Told(0.01), (OPENVINO, TORCH), card)
    assert not exact_together(Told(1.0), (OPENVINO, OPENVINO), card)
    assert exact_together(Told(1.0), (OPENVINO,), card), "a single network was measured itself"
    assert exact_together(Told(1.0), (TORCH, TORCH), card), "that is the reference"


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
