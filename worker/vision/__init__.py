"""What the models see in volumes: tensors and volumes here, no DICOM, no rows, no Celery.

The names load on first use, so that asking which modalities there are needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worker.vision.analyse import analyse_volumes
    from worker.vision.model import EngineRequest
    from worker.vision.models import Models, load_models
    from worker.vision.registry.registry import BadWeights
    from worker.vision.registry.rule import modalities

__all__ = ["BadWeights", "EngineRequest", "Models", "analyse_volumes", "load_models", "modalities"]

_HOMES = {
    "BadWeights": "worker.vision.registry.registry",
    "EngineRequest": "worker.vision.model",
    "Models": "worker.vision.models",
    "analyse_volumes": "worker.vision.analyse",
    "load_models": "worker.vision.models",
    "modalities": "worker.vision.registry.rule",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
