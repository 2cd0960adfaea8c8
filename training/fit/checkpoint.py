"""A training run on disk, as safetensors: network, averaged weights, optimiser moments, progress."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from worker.vision.network import SliceNet

MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass
class Progress:
    """How far a run has come."""

    step: int = 0
    seconds: float = 0.0
    best_score: float = -1.0  # below any: the first look at val is kept


def save(
    path: Path,
    network: SliceNet,
    average: SliceNet,
    optimiser: torch.optim.Optimizer,
    progress: Progress,
    run: Mapping[str, object],
) -> None:
    """Write a checkpoint; the old one stays until the new one is whole.

    ``run`` is what it was started with, as ``check_same`` compares it. Raises OSError.
    """
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    tensors |= {f"average.{name}": tensor for name, tensor in average.state_dict().items()}
    for name, parameter in network.named_parameters():
        state = optimiser.state.get(parameter, {})
        tensors |= {f"{moment}.{name}": state[moment] for moment in MOMENTS if moment in state}
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".tmp")
    save_file(
        {k: t.detach().contiguous() for k, t in tensors.items()},
        fresh,
        {"progress": json.dumps(asdict(progress)), "run": json.dumps(run)},
    )
    fresh.replace(path)


class AnotherRun(ValueError):
    """A checkpoint of a run that was started otherwise."""


def check_same(path: Path, run: Mapping[str, object]) -> None:
    """Raise AnotherRun, with what differs, where a checkpoint was not started with the same settings."""
    with safe_open(path, "pt") as file:
        begun = json.loads(file.metadata().get("run", "{}"))
    other = [
        f"{name}: {begun.get(name)} there, {value} here"
        for name, value in run.items()
        if begun.get(name) != value
    ]
    if other:
        raise AnotherRun(f"{path} is of another run ({'; '.join(other)}); give another --folder")


def resume(path: Path, network: SliceNet, average: SliceNet, optimiser: torch.optim.Optimizer) -> Progress:
    """Put a run back to where ``save`` left it. Raises RuntimeError for weights of another architecture."""
    with safe_open(path, "pt") as file:
        progress = Progress(**json.loads(file.metadata()["progress"]))
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    network.load_state_dict(_part(tensors, "network."))
    average.load_state_dict(_part(tensors, "average."))
    for name, parameter in network.named_parameters():
        if f"{MOMENTS[0]}.{name}" in tensors:
            moments = {moment: tensors[f"{moment}.{name}"] for moment in MOMENTS}
            optimiser.state[parameter] = {"step": torch.tensor(float(progress.step)), **moments}
    return progress


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
