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
from worker.vision.engines.onnx import ONNX, ONNX_INT8, quantise
from worker.vision.engines.opening import ENGINES, engine_file, open_engine
from worker.vision.network import Network
from worker.vision.registry import ModelCard

BATCH_SLICES = 16
ROUNDS = 7


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """The slices on which engines are compared, with a measure of accuracy where labels are known."""

    slices: NDArray[np.float32]  # (n, 1, S, S) in 0..1
    auc: Callable[[NDArray[np.float64]], float] | None = None  # of (n,) tumour probabilities
    calibration: NDArray[np.float32] | None = None  # (m, 1, S, S) other slices, for the ranges of int8


def choose(network: Network, card: ModelCard, trial: Trial, folder: Path, threads: int) -> Choice:
    """Measure every engine that can run here and choose the fastest that is exact enough.

    ONNX files are written to ``folder``; ``threads`` 0: all. An engine that cannot run gives a measurement
    with a ``problem``.
    """
    reference = probabilities(TorchEngine(TORCH, network), card, trial.slices)
    measured = []
    for name in ENGINES:
        try:
            engine = _opened(name, network, card, trial, folder, threads)
            measurement = _measured(engine, card, trial, reference)
        except EngineUnavailable as error:
            measurement = Measurement(name, 0.0, 0.0, problem=str(error))
        if name == ONNX_INT8 and not allowed(measurement):
            engine_file(folder, card, name).unlink(missing_ok=True)
        measured.append(measurement)
    return Choice(card.name, card.sha256, host(threads), fastest(measured), tuple(measured))


def probabilities(engine: Engine, card: ModelCard, slices: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n,) calibrated tumour probabilities in 0..1 of slices (n, 1, S, S)."""
    logits = [
        engine(torch.from_numpy(slices[start : start + BATCH_SLICES])).tumour.double()
        for start in range(0, len(slices), BATCH_SLICES)
    ]
    result: NDArray[np.float64] = torch.sigmoid(torch.cat(logits) / card.temperature).numpy()
    return result


def slices_per_s(engine: Engine, slices: NDArray[np.float32]) -> float:
    """Slices per second: the median of ``ROUNDS`` batches of ``BATCH_SLICES``, after one to warm up."""
    batch = torch.from_numpy(np.resize(slices, (BATCH_SLICES, *slices.shape[1:])))
    engine(batch)
    seconds = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        engine(batch)
        seconds.append(time.perf_counter() - begun)
    return BATCH_SLICES / median(seconds)


def _opened(name: str, network: Network, card: ModelCard, trial: Trial, folder: Path, threads: int) -> Engine:
    if name == ONNX_INT8:
        if trial.calibration is None:
            raise EngineUnavailable("needs slices with labels: python -m training engines")
        open_engine(ONNX, network, card, folder, threads)  # makes the file that is quantised
        quantise(engine_file(folder, card, ONNX), trial.calibration, engine_file(folder, card, name))
    return open_engine(name, network, card, folder, threads)


def _measured(engine: Engine, card: ModelCard, trial: Trial, reference: NDArray[np.float64]) -> Measurement:
    measured = probabilities(engine, card, trial.slices)
    result = Measurement(
        engine=engine.name,
        slices_per_s=round(slices_per_s(engine, trial.slices), 1),
        max_abs_dp=round(float(np.abs(measured - reference).max()), 5),
    )
    if trial.auc is None:
        return result
    return replace(result, auc_loss=round(trial.auc(reference) - trial.auc(measured), 5))
