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
from worker.vision.network import SliceNet
from worker.vision.registry import BadWeights, ModelCard
from worker.vision.rule import StudyRule, read_rules


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A network ready to run, with the numbers chosen for it."""

    card: ModelCard
    rule: StudyRule
    network: SliceNet
    reference: FeatureReference
    device: torch.device


@dataclass(frozen=True, slots=True, eq=False)
class Models:
    """One model per modality, loaded lazily (after a worker has forked)."""

    weights_dir: Path
    threads: int | None
    cards: dict[str, ModelCard]
    rules: dict[str, StudyRule]
    _loaded: dict[str, Model] = field(default_factory=dict)

    def of(self, modality: str) -> Model | None:
        """The model that decides for "MR" or "CT"; None where there is none. Raises BadWeights."""
        if modality not in self.cards:
            return None
        if modality not in self._loaded:
            if self.threads:
                torch.set_num_threads(self.threads)
            card, rule = self.cards[modality], self.rules[modality]
            self._loaded[modality] = network_model(card, rule, self.weights_dir)
        return self._loaded[modality]

    def degradations(self) -> Sequence[str]:
        """What an admin should know of these models."""
        return [
            f"the {modality} study rule was chosen for other weights than those of {card.name} {card.version}"
            for modality, card in self.cards.items()
            if self.rules[modality].model_sha256 != card.sha256
        ]


def network_model(card: ModelCard, rule: StudyRule, weights_dir: Path) -> Model:
    """Load one network and its reference features, on the GPU where there is one. Raises BadWeights."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = registry.load(card, weights_dir)
    network = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Model(card, rule, network, _reference(rule, weights_dir), device)


def load_models(weights_dir: Path, *, threads: int | None = None) -> Models:
    """Check all models of a folder: registry, rules, hashes. Runs no torch operation.

    ``threads``: torch threads of this process; None or 0 leaves torch's own choice. Raises BadWeights,
    whose text says which file is missing or damaged.
    """
    rules = read_rules(weights_dir)
    cards = {modality: registry.card(rule.model, weights_dir) for modality, rule in rules.items()}
    for card in cards.values():
        registry.verified_bytes(card, weights_dir)
    return Models(weights_dir, threads, cards, rules)


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
