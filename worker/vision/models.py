"""The models that one process holds: checked when it starts, loaded when first needed, then kept."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.numpy import load as parsed_arrays

from worker.vision import registry
from worker.vision.eligibility import FeatureReference
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
from worker.vision.fusion_registry import FusionCard, load_fusion, verify_fusion
from worker.vision.memory import out_of_memory
from worker.vision.network import Network
from worker.vision.network.fusion import FusionNet
from worker.vision.registry import BadWeights, ModelCard
from worker.vision.rule import LIGHT, StudyRule, read_rules

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


@dataclass(frozen=True, slots=True, eq=False)
class Models:
    """One model per modality, loaded lazily (after a worker has forked), and light ones to fall back on."""

    weights_dir: Path
    threads: int | None
    cards: dict[str, ModelCard]
    rules: dict[str, StudyRule]
    light_cards: dict[str, ModelCard] = field(default_factory=dict)
    light_rules: dict[str, StudyRule] = field(default_factory=dict)
    engine: EngineRequest = field(default_factory=EngineRequest)
    _loaded: dict[str, Model] = field(default_factory=dict)
    _fallen: dict[str, str] = field(default_factory=dict)  # by modality: why the light model answers
    fusion: FusionCard | None = None
    _fusion: list[FusionNet] = field(default_factory=list)  # at most one

    def of(self, modality: str) -> Model | None:
        """The model that decides for "MR" or "CT"; None where there is none.

        Where it cannot be loaded, or not in the memory there is, the light one takes its place until the
        process ends. Raises BadWeights (or what loading raised) where there is no light one.
        """
        return self.required(modality) if modality in self.cards else None

    def required(self, modality: str) -> Model:
        """As ``of``, for a modality that has a model."""
        if modality not in self._loaded:
            if self.threads:
                torch.set_num_threads(self.threads)
            try:
                self._loaded[modality] = self._load(self.cards[modality], self.rules[modality])
            except (BadWeights, MemoryError, RuntimeError) as error:
                why = self.why_light(modality, error)
                if why is None:
                    raise
            else:
                return self._loaded[modality]
            # Outside the handler: an error that is still handled keeps alive what there was no room for.
            return self.fall_back(modality, why)
        return self._loaded[modality]

    def fused_member(self, card: ModelCard) -> int | None:
        """The place of that network in a model through which the fusion sees; None where it sees nothing."""
        return self.fusion.place_in(card) if self.fusion else None

    def fusion_network(self, card: FusionCard) -> FusionNet:
        """The network of the fusion. Raises BadWeights."""
        if not self._fusion:
            self._fusion.append(load_fusion(card, self.weights_dir))
        return self._fusion[0]

    def why_light(self, modality: str, error: Exception) -> str | None:
        """Why the light model is to answer after an error; None where there is none or it would not help."""
        if modality not in self.light_cards or modality in self._fallen:
            return None
        if out_of_memory(error):
            return "there was too little memory"
        return "it could not be loaded" if isinstance(error, BadWeights) else None

    def fall_back(self, modality: str, why: str) -> Model:
        """Put the light model in the place of the large one, whose memory is given back."""
        failed = self.cards[modality]
        self._loaded.pop(modality, None)
        light = self._load(self.light_cards[modality], self.light_rules[modality])
        self._loaded[modality] = light
        self._fallen[modality] = (
            f"the light model {light.card.name} {light.card.version} answered in place of "
            f"{failed.name} {failed.version}: {why}; so it will until this process is started again"
        )
        return light

    def degradations(self) -> Sequence[str]:
        """What an admin should know of these models."""
        pairs = [(self.cards[m], self.rules[m], m) for m in self.cards if m not in self._fallen]
        pairs += [(self.light_cards[m], self.light_rules[m], m) for m in self._fallen]
        stale = [
            f"the {modality} study rule was chosen for other weights than those of {card.name} {card.version}"
            for card, rule, modality in pairs
            if rule.model_sha256 != card.sha256
        ]
        notes = [model.note for model in self._loaded.values() if model.note]
        return [*stale, *self._fallen.values(), *notes]

    def _load(self, card: ModelCard, rule: StudyRule) -> Model:
        return network_model(card, rule, self.weights_dir, self.engine, self.threads or 0)


def network_model(
    card: ModelCard,
    rule: StudyRule,
    weights_dir: Path,
    engine: EngineRequest | None = None,
    threads: int = 0,
) -> Model:
    """Load one network and its reference features. Raises BadWeights."""
    network = folded(registry.load(card, weights_dir))
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


def load_models(
    weights_dir: Path, *, threads: int | None = None, engine: EngineRequest | None = None, light: bool = False
) -> Models:
    """Check all models of a folder: registry, rules, hashes. Runs no torch operation.

    ``threads``: torch threads of this process; None or 0 leaves torch's own choice. ``light``: the light
    models decide, each modality that has none keeps its large one. Raises BadWeights, whose text says which
    file is missing or damaged.
    """
    rules, light_rules = read_rules(weights_dir), read_rules(weights_dir, LIGHT)
    cards, light_cards = (
        {modality: registry.card(rule.model, weights_dir) for modality, rule in some.items()}
        for some in (rules, light_rules)
    )
    for card in (*cards.values(), *light_cards.values()):
        registry.verify(card, weights_dir)
    alone = light and bool(light_cards)
    if alone:
        cards, rules, light_cards, light_rules = cards | light_cards, rules | light_rules, {}, {}
    # The fusion sees through a network of the large models.
    wish, fusion = engine or EngineRequest(), None if alone else verify_fusion(weights_dir)
    return Models(weights_dir, threads, cards, rules, light_cards, light_rules, wish, fusion=fusion)


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
