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
    """Which engine is to run the networks, and where what was measured and made for it lies."""

    name: str = AUTO  # what ``neurotriage engines`` measured to be best, or one of engines.ENGINES
    folder: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A network ready to run, with the numbers chosen for it."""

    card: ModelCard
    rule: StudyRule
    network: Network  # on the CPU, batch norms folded; for the explanation, and for an engine of torch
    reference: FeatureReference
    engine: Engine
    note: str = ""  # why the engine is not the one that was wished for


def network_model(
    card: ModelCard,
    rule: StudyRule,
    weights_dir: Path,
    engine: EngineRequest | None = None,
    threads: int = 0,
) -> Model:
    """Load one network and its reference features. Raises BadWeights."""
    network = folded(load_network(card, weights_dir))
    reference = _reference(rule, weights_dir)
    usual = CUDA if torch.cuda.is_available() else TORCH
    wish = engine or EngineRequest(usual)
    name = _engine_name(card, wish, threads)
    if name is None:
        return Model(card, rule, network, reference, unmeasured_engine(network, card))
    try:
        return Model(card, rule, network, reference, open_engine(name, network, card, wish.folder, threads))
    except EngineUnavailable as error:
        note = f"{card.name} ran on the engine {usual} instead of {name}: {error}"
        return Model(card, rule, network, reference, TorchEngine(usual, network), note)


def _engine_name(card: ModelCard, wish: EngineRequest, threads: int) -> str | None:
    """The engine that is wished for, or that was measured to be best; None where neither says."""
    if wish.name != AUTO:
        return wish.name
    found = read_choice(wish.folder, card.sha256, threads) if wish.folder else None
    return found.engine if found else None


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
