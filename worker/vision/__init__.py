"""The models' view of volumes: tensors and volumes here, no DICOM, no rows, no Celery.

The names load on first use, so that reading the registry needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worker.vision.analyse import analyse_volumes
    from worker.vision.model import EngineRequest
    from worker.vision.models import Models, load_models, models_for
    from worker.vision.registry import BadWeights, Registry, read_registry

__all__ = [
    "BadWeights",
    "EngineRequest",
    "Models",
    "Registry",
    "analyse_volumes",
    "load_models",
    "models_for",
    "read_registry",
]

_HOMES = {
    "BadWeights": "worker.vision.registry",
    "EngineRequest": "worker.vision.model",
    "Models": "worker.vision.models",
    "Registry": "worker.vision.registry",
    "analyse_volumes": "worker.vision.analyse",
    "load_models": "worker.vision.models",
    "models_for": "worker.vision.models",
    "read_registry": "worker.vision.registry",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
