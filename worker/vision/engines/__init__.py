"""Inference engines, and the choice among them by measurement on a host."""

from worker.vision.engines.choice import Choice, Measurement, allowed, host, read_choice, write_choice
from worker.vision.engines.eager import CUDA, TORCH, TorchEngine
from worker.vision.engines.interface import Engine, EngineUnavailable
from worker.vision.engines.onednn import TORCH_BF16, FusedEngine
from worker.vision.engines.onnx import ONNX, ONNX_INT8, OnnxEngine
from worker.vision.engines.opening import ENGINES, open_engine, unmeasured_engine

__all__ = [
    "CUDA",
    "ENGINES",
    "ONNX",
    "ONNX_INT8",
    "TORCH",
    "TORCH_BF16",
    "Choice",
    "Engine",
    "EngineUnavailable",
    "FusedEngine",
    "Measurement",
    "OnnxEngine",
    "TorchEngine",
    "allowed",
    "host",
    "open_engine",
    "read_choice",
    "unmeasured_engine",
    "write_choice",
]
