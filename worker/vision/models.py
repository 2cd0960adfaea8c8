"""The models that one process holds: checked when it starts, loaded when first needed, then kept."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from neurotriage.core.settings import WorkerSettings
from worker.eligibility import EligibilityRule
from worker.vision.memory import out_of_memory
from worker.vision.model import EngineRequest, Model, network_model
from worker.vision.network.fusion import FusionNet
from worker.vision.registry import BadWeights, FusionCard, ModelCard, Registry, StudyRule, read_registry
from worker.vision.registry.loading import load_fusion


@dataclass(frozen=True, slots=True, eq=False)
class Models:
    """One model per modality, loaded lazily (after a worker has forked), and light ones to fall back on."""

    weights_dir: Path
    threads: int | None
    cards: dict[str, ModelCard]
    rules: dict[str, StudyRule]
    eligibility: EligibilityRule
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


def models_for(settings: WorkerSettings, registry: Registry, engines_dir: Path) -> Models:
    """The models as ``[worker]`` asks for them.

    ``engines_dir`` holds what ``neurotriage engines`` measured and made on this host. Raises BadWeights as
    ``load_models`` does.
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

    ``weights``: the registry, or the folder of which it is to be read. ``threads``: torch threads of this
    process; None or 0 leaves torch's own choice. ``light``: the light models decide, each modality that has
    none keeps its large one. Raises BadWeights, whose text says which file is missing or damaged.
    """
    registry = read_registry(weights) if isinstance(weights, Path) else weights
    rules, light_rules = dict(registry.rules.deciding), dict(registry.rules.light)
    registry.verify(*registry.deciding_models)
    alone = light and bool(light_rules)
    if alone:
        rules, light_rules = rules | light_rules, {}
    fusion = None if alone else registry.fusion  # it sees through a network of the large models
    if fusion is not None:
        registry.verify(fusion)
    cards, light_cards = (
        {modality: registry.card(rule.model) for modality, rule in some.items()}
        for some in (rules, light_rules)
    )
    wish = engine or EngineRequest()
    return Models(
        registry.folder,
        threads,
        cards,
        rules,
        registry.eligibility,
        light_cards,
        light_rules,
        wish,
        fusion=fusion,
    )
