"""OpenVINO as an engine: oneDNN's layers fused by its compiler, in single precision or in bfloat16.

Encoder and decoder run in it, the heads in torch and single precision. Its model is made when a process
starts, in less than a second.
"""

from pathlib import Path

import numpy as np
import openvino
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.vision.engines.interface import EngineUnavailable
from worker.vision.engines.mapping import map_weights, release
from worker.vision.engines.onednn import WIDE
from worker.vision.engines.openvino_graph import model_of_maps
from worker.vision.network import SliceNet, SliceOutputs

OPENVINO, OPENVINO_BF16 = "openvino", "openvino-bf16"
CPU = "CPU"
# At a time, the last ones filled up: more is no faster and costs memory, and for a number that is open
# OpenVINO reorders the weights only as it runs, and keeps both.
PART_SLICES = 4


class OpenVinoEngine:
    """One network, its batch norms folded, on the CPU."""

    device = "cpu"

    def __init__(
        self, name: str, network: SliceNet, input_px: int, folder: Path | None, threads: int
    ) -> None:
        """Moves the network's weights to a nameless file in ``folder``, where there is one.

        ``threads``: 0 leaves the number to OpenVINO. Raises ``EngineUnavailable``.
        """
        core = openvino.Core()
        if name == OPENVINO_BF16:
            if network.architecture not in WIDE:
                raise EngineUnavailable(f"bfloat16 changes the answers of a {network.architecture}")
            if "BF16" not in core.get_property(CPU, "OPTIMIZATION_CAPABILITIES"):
                raise EngineUnavailable("this processor does not compute in bfloat16")
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16" if name == OPENVINO_BF16 else "f32",
            "ENABLE_CPU_PINNING": False,  # else several processes take the same cores
            **({"INFERENCE_NUM_THREADS": threads} if threads else {}),
        }
        try:
            mapped = map_weights(network, folder)
            self.maps = core.compile_model(model_of_maps(network, PART_SLICES, input_px), CPU, options)
        except (OSError, RuntimeError) as error:
            raise EngineUnavailable(f"OpenVINO cannot run {network.architecture}: {error}") from error
        release(mapped)
        self.name, self.network = name, network

    @torch.inference_mode()
    def __call__(self, slices: Tensor) -> SliceOutputs:
        parts = [self._maps(part.numpy()) for part in torch.split(slices, PART_SLICES)]
        maps = (torch.from_numpy(np.concatenate(rows)) for rows in zip(*parts, strict=True))
        return self.network.heads(*maps)

    def _maps(self, part: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        whole = np.zeros((PART_SLICES, *part.shape[1:]), np.float32)
        whole[: len(part)] = part
        return [maps[: len(part)] for maps in self.maps(whole).values()]
