"""The options that several steps share, each declared once."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from neurotriage.core.settings import WorkerSettings
from worker.vision.engines import ENGINES, TORCH

SHARED: Mapping[str, Mapping[str, Any]] = {
    "--engine": {
        "choices": ENGINES,
        "default": TORCH,
        "help": "engine that runs the networks of the registry",
    },
    "--json": {"type": Path, "metavar": "FILE", "help": "file for the figures; default: the terminal"},
    "--manifest": {"type": Path, "required": True, "metavar": "FILE", "help": "CSV of slices"},
    "--model": {"required": True, "metavar": "NAME", "help": "name in the registry"},
    "--split": {"help": "only rows of this split; default: all rows"},
    "--threads": {"type": int, "default": 0, "metavar": "N", "help": "torch threads; 0: torch's choice"},
    "--training": {
        "required": True,
        "metavar": "TEXT",
        "help": "for how long, on what and from what the model was trained",
    },
    "--version": {"required": True, "help": "version of the model in the registry"},
    "--volumes": {"type": Path, "required": True, "metavar": "FILE", "help": "CSV of whole volumes"},
    "--weights": {
        "type": Path,
        "default": WorkerSettings().weights,
        "metavar": "FOLDER",
        "help": "folder of the registry",
    },
}


def step_parser(step: str, description: str | None, *shared: str) -> argparse.ArgumentParser:
    """A parser for one step, with the shared options that it takes."""
    parser = argparse.ArgumentParser(prog=f"python -m training {step}", description=description)
    for name in shared:
        parser.add_argument(name, **SHARED[name])
    return parser


def use_threads(threads: int) -> None:
    """Follow ``--threads``."""
    if threads:
        torch.set_num_threads(threads)
