"""Opens engines by name."""

from collections.abc import Sequence
from pathlib import Path

from worker.vision.engines.eager import CUDA, TORCH, TorchEngine
from worker.vision.engines.interface import Engine, EngineUnavailable
from worker.vision.engines.members import MemberEngines
from worker.vision.engines.onednn import TORCH_BF16, FusedEngine
from worker.vision.engines.onnx import ONNX, ONNX_INT8, OnnxEngine, export_onnx
from worker.vision.engines.openvino import OPENVINO, OPENVINO_BF16, OpenVinoEngine
from worker.vision.network import Ensemble, Network, SliceNet, members_of
from worker.vision.registry import ModelCard

ENGINES = (TORCH, TORCH_BF16, OPENVINO, OPENVINO_BF16, ONNX, ONNX_INT8, CUDA)


def open_engine(name: str, network: Network, card: ModelCard, folder: Path | None, threads: int) -> Engine:
    """The engine of that name for a network, or for every member of an ensemble.

    ``folder`` holds the ONNX files: that in single precision is written if it is missing, that in int8 only
    by measurement. ``threads`` 0: all. Raises ``EngineUnavailable`` where the engine cannot run here.
    """
    return open_engines([name] * len(members_of(network)), network, card, folder, threads)


def open_engines(
    names: Sequence[str], network: Network, card: ModelCard, folder: Path | None, threads: int
) -> Engine:
    """As ``open_engine``, with an engine for each member of an ensemble, in order."""
    if len(set(names)) == 1 and names[0] in (TORCH, CUDA):
        return TorchEngine(names[0], network)
    parts = zip(names, members_of(network), card.networks, strict=True)
    engines = [_open(name, member, its_card, folder, threads) for name, member, its_card in parts]
    return MemberEngines(network, engines) if isinstance(network, Ensemble) else engines[0]


def _open(name: str, network: SliceNet, card: ModelCard, folder: Path | None, threads: int) -> Engine:
    if name in (TORCH, CUDA):
        return TorchEngine(name, network)
    if name == TORCH_BF16:
        return FusedEngine(network)
    if name in (OPENVINO, OPENVINO_BF16):
        return OpenVinoEngine(name, network, card.input_px, folder, threads)
    if folder is None:
        raise EngineUnavailable(f"{name} needs a folder for its file")
    path = engine_file(folder, card, name)
    if name == ONNX and not path.is_file():
        export_onnx(network, card.input_px, path)
    if not path.is_file():
        raise EngineUnavailable(f"{path} is missing; python -m training engines makes it")
    return OnnxEngine(name, path, threads)


def engine_file(folder: Path, card: ModelCard, name: str) -> Path:
    """The ONNX file of an engine for these weights, named by their SHA-256 and the input size in pixels."""
    return folder / f"{card.sha256[:16]}-{card.input_px}{'-int8' if name == ONNX_INT8 else ''}.onnx"
