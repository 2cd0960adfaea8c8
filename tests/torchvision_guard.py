"""Imports torchvision beside a CPU-only torch.

torchvision's wheel on PyPI is built for CUDA; beside a CPU torch its compiled operators do not load and
the import fails on their missing schemas. Declaring the two schemas that it registers lets the Python
part (models, transforms) import. With matching builds this does nothing.
"""

import importlib
import sys
from types import ModuleType

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[torch.library.Library] = []  # a library lives as long as its object


def torchvision() -> ModuleType:
    """The torchvision package; raises ImportError where it is not installed."""
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        library.define(operator + _SCHEMA)  # type: ignore[no-untyped-call]
    _declared.append(library)
    return importlib.import_module("torchvision")
