"""One network ready to run: its weights, its rule, its engine."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.numpy import load as parsed_arrays

from worker.vision.engines import (
    CUDA,
    TORCH,
    Engine,
    EngineUnavailable,
    TorchEngine,
    open_engine,
    read_choice,
    unmeasured_engine,
)
from worker.vision.engines.eager import folded
from worker.vision.feature_reference import FeatureReference
from worker.vision.network import Network
from worker.vision.registry import BadWeights, ModelCard, StudyRule
from worker.vision.registry.loading import load_network

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """Which engine is to run the networks, and the folder of its measurements and files on this host."""

    name: str = AUTO  # the best one by ``neurotriage engines``, or one of engines.ENGINES
    folder: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A network ready to run, with its study rule and reference features."""

    card: ModelCard
    rule: StudyRule
    network: Network  # on the CPU, batch norms folded; for Grad-CAM and the torch engines
    reference: FeatureReference
    engine: Engine
    note: str = ""  # why another engine than the requested one runs; else empty


def network_model(
    card: ModelCard,
    rule: StudyRule,
    weights_dir: Path,
    engine: EngineRequest | None = None,
    threads: int = 0,
) -> Model:
    """Load one network, its reference features and its engine.

    Where the requested engine cannot run, torch takes its place and ``note`` says why. ``threads``: as set in
    ``[worker]``, 0 leaves torch's own choice; an engine is measured for a number of threads. Raises
    BadWeights.
    """
    network = folded(load_network(card, weights_dir))
    reference = _reference(rule, weights_dir)
    usual = CUDA if torch.cuda.is_available() else TORCH
    request = engine or EngineRequest(usual)
    name = _engine_name(card, request, threads)
    if name is None:
        return Model(card, rule, network, reference, unmeasured_engine(network, card))
    try:
        return Model(
            card, rule, network, reference, open_engine(name, network, card, request.folder, threads)
        )
    except EngineUnavailable as error:
        note = f"{card.name} ran on the engine {usual} instead of {name}: {error}"
        return Model(card, rule, network, reference, TorchEngine(usual, network), note)


def _engine_name(card: ModelCard, request: EngineRequest, threads: int) -> str | None:
    """The requested engine, or the best one by measurement; None where none was measured."""
    if request.name != AUTO:
        return request.name
    choice = read_choice(request.folder, card.sha256, threads) if request.folder else None
    return choice.engine if choice else None


def _reference(rule: StudyRule, weights_dir: Path) -> FeatureReference:
    path = weights_dir / rule.features_file
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadWeights(f"the reference features {path} cannot be read: {error}") from error
    digest = sha256(data).hexdigest()
    if digest != rule.features_sha256:
        raise BadWeights(f"{path} has SHA-256 {digest}, the study rule says {rule.features_sha256}")
    try:
        return FeatureReference(**parsed_arrays(data))
    except (SafetensorError, TypeError, ValueError) as error:
        raise BadWeights(f"the reference features {path} are damaged: {error!r}") from error
