"""One network ready to run: its weights, its rule, its engine."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load as parsed_arrays

from worker.vision.engines import (
    TORCH,
    Engine,
    EngineUnavailable,
    TorchEngine,
    best_engines,
    exact_together,
    open_engines,
    usual_engine,
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

    Where an engine cannot run, torch takes its place and ``note`` says why. ``threads``: as set in
    ``[worker]``, 0 leaves torch's own choice; an engine is measured for a number of threads. Raises
    BadWeights.
    """
    network = folded(load_network(card, weights_dir))
    reference = _reference(rule, weights_dir)
    names = _engine_names(network, card, engine or EngineRequest(usual_engine()), threads)
    folder = engine.folder if engine else None
    try:
        running = open_engines(names, network, card, folder, threads)
    except EngineUnavailable as error:
        wanted, usual = "+".join(dict.fromkeys(names)), usual_engine()
        note = f"{card.name} ran on the engine {usual} instead of {wanted}: {error}"
        return Model(card, rule, network, reference, TorchEngine(usual, network), note)
    if engine and engine.name == AUTO and not exact_together(running, names, card):
        return Model(card, rule, network, reference, TorchEngine(TORCH, network))
    return Model(card, rule, network, reference, running)


def _engine_names(network: Network, card: ModelCard, request: EngineRequest, threads: int) -> tuple[str, ...]:
    """The engine of each member: the requested one, or the best ones by measurement."""
    if request.name != AUTO:
        return (request.name,) * len(card.networks)
    return best_engines(network, card, request.folder, threads)


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
