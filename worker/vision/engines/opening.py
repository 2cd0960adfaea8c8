"""From an engine's name to an engine."""

from pathlib import Path

import torch

from worker.vision.engines.eager import CUDA, TORCH, TORCH_BF16, TorchEngine
from worker.vision.engines.interface import Engine, NoEngine
from worker.vision.engines.onnx import ONNX, ONNX_INT8, OnnxEngine, export_onnx
from worker.vision.network import SliceNet
from worker.vision.registry import ModelCard

ENGINES = (TORCH, TORCH_BF16, ONNX, ONNX_INT8, CUDA)


def open_engine(name: str, network: SliceNet, card: ModelCard, folder: Path | None, threads: int) -> Engine:
    """The engine of that name for a network.

    ``folder`` holds the files that ONNX Runtime needs; that in single precision is made there when it is
    missing, the int8 one only by measurement. Raises NoEngine where it cannot run here.
    """
    if name == TORCH_BF16 and not torch.cpu._is_avx512_bf16_supported():
        raise NoEngine("this processor does not compute in bfloat16")
    if name in (TORCH, TORCH_BF16, CUDA):
        return TorchEngine(name, network)
    if folder is None:
        raise NoEngine(f"{name} needs a folder for its file")
    path = engine_file(folder, card, name)
    if name == ONNX and not path.is_file():
        export_onnx(network, card.input_px, path)
    if not path.is_file():
        raise NoEngine(f"{path} is missing; neurotriage engines --manifest makes it")
    return OnnxEngine(name, path, threads)


def engine_file(folder: Path, card: ModelCard, name: str) -> Path:
    """Where an engine's file of these weights lies."""
    return folder / f"{card.sha256[:16]}-{card.input_px}{'-int8' if name == ONNX_INT8 else ''}.onnx"
