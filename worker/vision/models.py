"""The models that one process holds: checked when it starts, loaded when first needed, then kept."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from neurotriage.core.settings import WorkerSettings
from worker.eligibility import EligibilityRule
from worker.vision.memory import out_of_memory, trim_heap
from worker.vision.model import EngineRequest, Model, network_model
from worker.vision.network.fusion import FusionNet
from worker.vision.registry import BadWeights, FusionCard, ModelCard, Registry, StudyRule, read_registry
from worker.vision.registry.loading import load_fusion


@dataclass(frozen=True, slots=True, eq=False)
class Models:
    """One model per modality, loaded lazily (after a worker has forked), and light ones to fall back on.

    The dictionaries are by modality, "CT" or "MR". Made by ``models_for`` or ``load_models``.
    """

    weights_dir: Path
    threads: int | None
    cards: dict[str, ModelCard]
    rules: dict[str, StudyRule]
    eligibility: EligibilityRule
    light_cards: dict[str, ModelCard] = field(default_factory=dict)
    light_rules: dict[str, StudyRule] = field(default_factory=dict)
    engine: EngineRequest = field(default_factory=EngineRequest)
    _loaded: dict[str, Model] = field(default_factory=dict)
    _fallbacks: dict[str, str] = field(default_factory=dict)  # why the light model answers
    fusion: FusionCard | None = None
    _fusion: list[FusionNet] = field(default_factory=list)  # at most one

    def of(self, modality: str) -> Model | None:
        """The model that decides for a modality; None where there is none.

        Where it cannot be loaded, or memory is too short for it, the light one takes its place until the
        process ends. Without a light one, raises BadWeights or the error of loading.
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
            # Outside the handler: an error under handling keeps the memory that its frames refer to.
            return self.fall_back(modality, why)
        return self._loaded[modality]

    @property
    def loaded(self) -> tuple[Model, ...]:
        """The models that are loaded now."""
        return tuple(self._loaded.values())

    def fused_member(self, card: ModelCard) -> int | None:
        """Which network of this model gives the fusion its features, by its place; None where none does."""
        return self.fusion.place_in(card) if self.fusion else None

    def fusion_network(self, card: FusionCard) -> FusionNet:
        """The network of the fusion. Raises BadWeights."""
        if not self._fusion:
            self._fusion.append(load_fusion(card, self.weights_dir))
        return self._fusion[0]

    def why_light(self, modality: str, error: Exception) -> str | None:
        """Why the light model is to answer after ``error``; None where there is none or it would not help."""
        if modality not in self.light_cards or modality in self._fallbacks:
            return None
        if out_of_memory(error):
            return "there was too little memory"
        return "it could not be loaded" if isinstance(error, BadWeights) else None

    def fall_back(self, modality: str, why: str) -> Model:
        """Replace the large model by the light one until the process ends, and free its memory.

        ``why``: from ``why_light``; the results quote it. Raises BadWeights.
        """
        failed = self.cards[modality]
        self._loaded.pop(modality, None)
        trim_heap()
        light = self._load(self.light_cards[modality], self.light_rules[modality])
        self._loaded[modality] = light
        self._fallbacks[modality] = (
            f"the light model {light.card.name} {light.card.version} answered in place of "
            f"{failed.name} {failed.version}: {why}; so it will until this process is started again"
        )
        return light

    def degradations(self) -> Sequence[str]:
        """A sentence on each way in which these models are not the ones that were set up."""
        pairs = [(self.cards[m], self.rules[m], m) for m in self.cards if m not in self._fallbacks]
        pairs += [(self.light_cards[m], self.light_rules[m], m) for m in self._fallbacks]
        stale = [
            f"the {modality} study rule was chosen for other weights than those of {card.name} {card.version}"
            for card, rule, modality in pairs
            if rule.model_sha256 != card.sha256
        ]
        notes = [model.note for model in self._loaded.values() if model.note]
        return [*stale, *self._fallbacks.values(), *notes]

    def _load(self, card: ModelCard, rule: StudyRule) -> Model:
        return network_model(card, rule, self.weights_dir, self.engine, self.threads or 0)


def models_for(settings: WorkerSettings, registry: Registry, engines_dir: Path | None) -> Models:
    """The models that the settings of ``[worker]`` ask for.

    ``engines_dir``: measurements and files of engines on this host; None: nothing is measured. Raises
    BadWeights as ``load_models`` does.
    """
    return load_models(
        registry,
        threads=settings.threads or None,
        engine=EngineRequest(settings.engine, engines_dir),
        light=settings.models == "light",
    )


def load_models(
    weights: Registry | Path,
    *,
    threads: int | None = None,
    engine: EngineRequest | None = None,
    light: bool = False,
) -> Models:
    """Check the weight files of all models that may answer. Runs no torch operation.

    ``weights``: the registry, or the folder to read it from. ``threads``: torch threads of this process; None
    or 0 leaves torch's own choice. ``light``: the light models decide; a modality that has none keeps its
    large one. Raises BadWeights, whose text says which file is missing or damaged.
    """
    registry = read_registry(weights) if isinstance(weights, Path) else weights
    rules, light_rules = dict(registry.rules.deciding), dict(registry.rules.light)
    registry.verify(*registry.deciding_models)
    alone = light and bool(light_rules)
    if alone:
        rules, light_rules = rules | light_rules, {}
    fusion = None if alone else registry.fusion  # it takes the features of the large models
    if fusion is not None:
        registry.verify(fusion)
    cards, light_cards = (
        {modality: registry.card(rule.model) for modality, rule in by_modality.items()}
        for by_modality in (rules, light_rules)
    )
    return Models(
        registry.folder,
        threads,
        cards,
        rules,
        registry.eligibility,
        light_cards,
        light_rules,
        engine or EngineRequest(),
        fusion=fusion,
    )
