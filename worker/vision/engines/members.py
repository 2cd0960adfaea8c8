"""An ensemble whose members run on engines of their own."""

from collections.abc import Sequence

import torch
from torch import Tensor

from worker.vision.engines.interface import Engine
from worker.vision.network import Ensemble, SliceOutputs


class MemberEngines:
    """The members' maps by their engines, in order; the heads and their mean in single precision."""

    def __init__(self, network: Ensemble, engines: Sequence[Engine]) -> None:
        self.network, self.engines = network, tuple(engines)
        self.name = "+".join(dict.fromkeys(engine.name for engine in engines))
        self.device = "+".join(dict.fromkeys(engine.device for engine in engines))

    @torch.inference_mode()
    def __call__(self, slices: Tensor) -> SliceOutputs:
        views = self.network.views(slices)
        outputs = [engine(views) for engine in self.engines]
        maps = [(output.features, output.mask, output.deepest) for output in outputs]
        return self.network.heads(*self.network.joined(maps, len(slices)))
