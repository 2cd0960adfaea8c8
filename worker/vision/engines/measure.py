"""Measures the speed of each engine on this host and its difference from the reference."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray

from worker.vision.engines.choice import Choice, Measurement, allowed, fastest, host
from worker.vision.engines.eager import TORCH, TorchEngine
from worker.vision.engines.interface import Engine, EngineUnavailable
from worker.vision.engines.onednn import TORCH_BF16
from worker.vision.engines.onnx import ONNX, ONNX_INT8, quantise
from worker.vision.engines.opening import ENGINES, engine_file, open_engine
from worker.vision.engines.openvino import OPENVINO, OPENVINO_BF16
from worker.vision.network import Network
from worker.vision.registry import ModelCard


@dataclass(frozen=True, slots=True)
class Plan:
    """Which engines are measured, and how long."""

    engines: tuple[str, ...]
    batch_slices: int
    rounds: int  # of a batch, of which the median counts


THOROUGH = Plan(ENGINES, batch_slices=16, rounds=7)
# A few seconds, on the first start on a host: what needs no file of its own.
QUICK = Plan((TORCH, TORCH_BF16, OPENVINO, OPENVINO_BF16), batch_slices=4, rounds=1)


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """The slices on which engines are compared, with a measure of accuracy where labels are known."""

    slices: NDArray[np.float32]  # (n, 1, S, S) in 0..1
    auc: Callable[[NDArray[np.float64]], float] | None = None  # of (n,) tumour probabilities
    calibration: NDArray[np.float32] | None = None  # (m, 1, S, S) other slices, for the ranges of int8


def choose(
    network: Network, card: ModelCard, trial: Trial, folder: Path, threads: int, plan: Plan = THOROUGH
) -> Choice:
    """Measure every engine of the plan that can run here and choose the fastest that is exact enough.

    ONNX files are written to ``folder``; ``threads`` 0: all. An engine that cannot run gives a measurement
    with a ``problem``.
    """
    eager = TorchEngine(TORCH, network)
    reference = probabilities(eager, card, trial.slices, plan.batch_slices)
    measured = []
    for name in plan.engines:
        try:
            engine = eager if name == TORCH else _opened(name, network, card, trial, folder, threads)
            measurement = _measured(engine, card, trial, reference, plan)
        except EngineUnavailable as error:
            measurement = Measurement(name, 0.0, 0.0, problem=str(error))
        if name == ONNX_INT8 and not allowed(measurement):
            engine_file(folder, card, name).unlink(missing_ok=True)
        measured.append(measurement)
    return Choice(card.name, card.sha256, host(threads), fastest(measured), tuple(measured))


def probabilities(
    engine: Engine, card: ModelCard, slices: NDArray[np.float32], batch_slices: int
) -> NDArray[np.float64]:
    """(n,) calibrated tumour probabilities in 0..1 of slices (n, 1, S, S)."""
    logits = [
        engine(torch.from_numpy(slices[start : start + batch_slices])).tumour.double()
        for start in range(0, len(slices), batch_slices)
    ]
    result: NDArray[np.float64] = torch.sigmoid(torch.cat(logits) / card.temperature).numpy()
    return result


def slices_per_s(engine: Engine, slices: NDArray[np.float32], plan: Plan) -> float:
    """Slices per second by the median of the plan's batches, of an engine that is warm."""
    batch = torch.from_numpy(np.resize(slices, (plan.batch_slices, *slices.shape[1:])))
    seconds = []
    for _ in range(plan.rounds):
        begun = time.perf_counter()
        engine(batch)
        seconds.append(time.perf_counter() - begun)
    return plan.batch_slices / median(seconds)


def _opened(name: str, network: Network, card: ModelCard, trial: Trial, folder: Path, threads: int) -> Engine:
    if name == ONNX_INT8:
        if trial.calibration is None:
            raise EngineUnavailable("needs slices with labels: python -m training engines")
        open_engine(ONNX, network, card, folder, threads)  # makes the file that is quantised
        quantise(engine_file(folder, card, ONNX), trial.calibration, engine_file(folder, card, name))
    return open_engine(name, network, card, folder, threads)


def _measured(
    engine: Engine, card: ModelCard, trial: Trial, reference: NDArray[np.float64], plan: Plan
) -> Measurement:
    same = engine.name == TORCH
    measured = reference if same else probabilities(engine, card, trial.slices, plan.batch_slices)
    result = Measurement(
        engine=engine.name,
        slices_per_s=round(slices_per_s(engine, trial.slices, plan), 1),
        max_abs_dp=round(float(np.abs(measured - reference).max()), 5),
    )
    if trial.auc is None:
        return result
    return replace(result, auc_loss=round(trial.auc(reference) - trial.auc(measured), 5))
