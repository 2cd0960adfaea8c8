"""The interface of all engines."""

from typing import Protocol

from torch import Tensor

from neurotriage.core.errors import SetupError
from worker.vision.network import SliceOutputs


class EngineUnavailable(SetupError):
    """An engine that cannot run here; the text says why and what to do."""


class Engine(Protocol):
    """Runs one network: encoder, decoder and heads. Grad-CAM is computed from the outputs."""

    @property
    def name(self) -> str: ...

    @property
    def device(self) -> str: ...

    def __call__(self, slices: Tensor) -> SliceOutputs:
        """Slices (N, 1, S, S), float32 in 0..1 on the CPU, to float32 outputs on the CPU."""
        ...
