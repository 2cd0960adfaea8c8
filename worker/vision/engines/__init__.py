"""Inference engines, and the choice among them by measurement on a host."""

from worker.vision.engines.best import best_engines, exact_together, usual_engine
from worker.vision.engines.choice import Choice, Measurement, allowed, host, read_choice, write_choice
from worker.vision.engines.eager import CUDA, TORCH, TorchEngine
from worker.vision.engines.interface import Engine, EngineUnavailable
from worker.vision.engines.onednn import TORCH_BF16, FusedEngine
from worker.vision.engines.onnx import ONNX, ONNX_INT8, OnnxEngine
from worker.vision.engines.opening import ENGINES, open_engine, open_engines
from worker.vision.engines.openvino import OPENVINO, OPENVINO_BF16, OpenVinoEngine

__all__ = [
    "CUDA",
    "ENGINES",
    "ONNX",
    "ONNX_INT8",
    "OPENVINO",
    "OPENVINO_BF16",
    "TORCH",
    "TORCH_BF16",
    "Choice",
    "Engine",
    "EngineUnavailable",
    "FusedEngine",
    "Measurement",
    "OnnxEngine",
    "OpenVinoEngine",
    "TorchEngine",
    "allowed",
    "best_engines",
    "exact_together",
    "host",
    "open_engine",
    "open_engines",
    "read_choice",
    "usual_engine",
    "write_choice",
]
