"""Opens engines by name."""

from pathlib import Path

import torch

from worker.vision.engines.choice import MAX_DP
from worker.vision.engines.eager import CUDA, TORCH, TorchEngine
from worker.vision.engines.interface import Engine, EngineUnavailable
from worker.vision.engines.onednn import TORCH_BF16, FusedEngine
from worker.vision.engines.onnx import ONNX, ONNX_INT8, OnnxEngine, export_onnx
from worker.vision.network import Network
from worker.vision.registry import ModelCard
from worker.vision.registry.self_check import largest_dp

ENGINES = (TORCH, TORCH_BF16, ONNX, ONNX_INT8, CUDA)


def open_engine(name: str, network: Network, card: ModelCard, folder: Path | None, threads: int) -> Engine:
    """The engine of that name for a network.

    ``folder`` holds the ONNX files: that in single precision is written if it is missing, that in int8 only
    by measurement. ``threads`` 0: all. Raises ``EngineUnavailable`` where the engine cannot run here.
    """
    if name in (TORCH, CUDA):
        return TorchEngine(name, network)
    if name == TORCH_BF16:
        return FusedEngine(network)
    if folder is None:
        raise EngineUnavailable(f"{name} needs a folder for its file")
    path = engine_file(folder, card, name)
    if name == ONNX and not path.is_file():
        export_onnx(network, card.input_px, path)
    if not path.is_file():
        raise EngineUnavailable(f"{path} is missing; python -m training engines makes it")
    return OnnxEngine(name, path, threads)


def unmeasured_engine(network: Network, card: ModelCard) -> Engine:
    """The engine of a host without measurements.

    CUDA where torch has a GPU; else bfloat16 where the processor has it, if the tumour probabilities of the
    drawn slices differ by at most ``MAX_DP`` from those at the model's export; else the reference.
    """
    if torch.cuda.is_available():
        return TorchEngine(CUDA, network)
    try:
        fused = FusedEngine(network)
        if largest_dp(fused, card) <= MAX_DP:
            return fused
    except (EngineUnavailable, RuntimeError):  # oneDNN lacks the layer here
        pass
    return TorchEngine(TORCH, network)


def engine_file(folder: Path, card: ModelCard, name: str) -> Path:
    """The ONNX file of an engine for these weights, named by their SHA-256 and the input size in pixels."""
    return folder / f"{card.sha256[:16]}-{card.input_px}{'-int8' if name == ONNX_INT8 else ''}.onnx"
