"""The settings of one training run, and the options that give them."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from training.fit.initial_weights import usual_start
from training.fit.models import MODELS
from training.options import step_parser
from worker.vision.network import RESNET50
from worker.vision.slices.preprocess import INPUT_PX

LEARNING_RATE = 1e-3
SMALL_PX, SMALL_SHARE = 96, 0.4  # a run begins with smaller pictures, of which it gets through more


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """One training run."""

    model: str
    manifest: Path
    minutes: float
    folder: Path
    init: str
    teachers: tuple[str, ...]
    weights: Path
    bf16: bool
    rate: float
    input_px: int
    small_share: float
    check_minutes: float
    threads: int
    seed: int

    @property
    def fixed(self) -> dict[str, object]:
        """The settings that a resumed run must share with the one that wrote its checkpoint."""
        return {
            "model": self.model,
            "init": self.init,
            "teachers": list(self.teachers),
            "rate": self.rate,
            "input_px": self.input_px,
            "small_share": self.small_share,
        }


def settings_from(arguments: Sequence[str] | None) -> TrainingSettings:
    """Settings from the command line of the step ``train``; argparse ends the process at a wrong one."""
    parser = step_parser(
        "train", "Train a slice model for a given time; a run stops by itself", "--manifest", "--weights"
    )
    parser.add_argument("--model", choices=sorted(MODELS), default="mr-teacher", help="model to train")
    parser.add_argument("--minutes", type=float, default=75.0, help="wall time after which training ends")
    parser.add_argument(
        "--folder",
        type=Path,
        help="for log, best weights and checkpoint; a run that is there is resumed; default: a cache",
    )
    parser.add_argument(
        "--init",
        help="imagenet, random, weights of ours or torchvision's ImageNet weights; "
        "default: imagenet for efficientnet-lite0, else random",
    )
    parser.add_argument(
        "--teachers",
        nargs="+",
        default=(),
        metavar="NAME",
        help="models of this modality to learn from as well",
    )
    parser.add_argument(
        "--bf16",
        action=argparse.BooleanOptionalAction,
        help="compute in bfloat16; default: where the processor is faster that way",
    )
    parser.add_argument(
        "--rate",
        type=float,
        default=LEARNING_RATE,
        help="largest learning rate; use a smaller one with --init and weights of an earlier run",
    )
    parser.add_argument("--input-px", type=int, default=INPUT_PX, help="side of the network's input")
    parser.add_argument(
        "--small-share",
        type=float,
        default=SMALL_SHARE,
        help=f"share of the run, at its beginning, that trains on pictures of {SMALL_PX} px",
    )
    parser.add_argument("--check-minutes", type=float, default=10.0, help="time between evaluations on val")
    parser.add_argument(
        "--threads", type=int, default=2, help="at most; fewer are used where they are faster"
    )
    parser.add_argument("--seed", type=int, default=1, help="of all random numbers of the run")
    options = parser.parse_args(arguments)
    options.folder = options.folder or _cache() / options.model
    options.teachers = tuple(options.teachers)
    architecture = MODELS[options.model].architecture
    options.init = options.init or usual_start(architecture)
    if options.bf16 is None:
        options.bf16 = faster_in_bf16(architecture)
    return TrainingSettings(**vars(options))


def faster_in_bf16(architecture: str) -> bool:
    """Whether this processor trains a network faster in bfloat16.

    With AMX any; with AVX512-BF16 alone only dense convolutions gain (ResNet-50
    1.8 times), depthwise ones lose.
    """
    dense = architecture == RESNET50 and torch.cpu._is_avx512_bf16_supported()
    return torch.cpu._is_amx_tile_supported() or dense


def _cache() -> Path:
    """Where runs lie by default: outside the repository."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "neurotriage" / "training"
