"""A weights folder, read once: the cards of its models and the study rules by which they decide.

``registry.json`` lists the models, ``study_rule.json`` says which of them answer. Needs no torch.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from worker.eligibility import EligibilityRule
from worker.vision.registry.cards import (
    FUSION,
    BadWeights,
    Card,
    FusionCard,
    ModelCard,
    fusion_card,
    model_cards,
    verified_file,
)
from worker.vision.registry.rule import RuleFile, read_rule_file

REGISTRY_FILE = "registry.json"


@dataclass(frozen=True, slots=True)
class Cards:
    """The networks and ensembles of a weights folder, by name."""

    folder: Path
    cards: Mapping[str, ModelCard]

    def card(self, name: str) -> ModelCard:
        """One model's card. Raises BadWeights where the registry does not list it."""
        if name not in self.cards:
            raise BadWeights(
                f"no model {name!r} in {self.folder / REGISTRY_FILE}; it lists {sorted(self.cards)}"
            )
        return self.cards[name]

    def verify(self, *cards: Card) -> None:
        """Compare every weight file of these models with its hash. Raises BadWeights."""
        for card in cards:
            for network in card.networks:
                verified_file(network, self.folder)


@dataclass(frozen=True, slots=True)
class Registry(Cards):
    """All that a weights folder says, as it was when it was read."""

    fusion: FusionCard | None
    rules: RuleFile

    @property
    def eligibility(self) -> EligibilityRule:
        """The numbers by which a series is refused, whatever the network."""
        return self.rules.eligibility

    @property
    def modalities(self) -> frozenset[str]:
        """The modalities ("MR", "CT") that a model decides."""
        return frozenset(self.rules.deciding)

    @property
    def deciding_models(self) -> tuple[ModelCard, ...]:
        """The models that may answer: those that decide, and those to fall back on."""
        rules = (*self.rules.deciding.values(), *self.rules.light.values())
        return tuple(self.card(rule.model) for rule in rules)

    @property
    def reported_models(self) -> tuple[Card, ...]:
        """The models that a result may name: those that may answer, and the fusion where there is one."""
        return (*self.deciding_models, *self._fusions)

    def verify_all(self) -> None:
        """Compare every weight file of the registry with its hash. Raises BadWeights."""
        self.verify(*(card for card in self.cards.values() if not card.members), *self._fusions)

    @property
    def _fusions(self) -> tuple[FusionCard, ...]:
        return () if self.fusion is None else (self.fusion,)


def read_registry(weights_dir: Path) -> Registry:
    """Read a weights folder whose models answer: cards, fusion and rules. Each file is read once.

    Raises BadWeights where a file is missing or damaged, an ensemble or the fusion was made of other weights
    than those that are listed, or a rule names a model that is not.
    """
    document = _document(weights_dir)
    cards = _cards(document, weights_dir)
    fusion = _fusion(document, cards, weights_dir)
    registry = Registry(weights_dir, cards, fusion, read_rule_file(weights_dir))
    for rule in (*registry.rules.deciding.values(), *registry.rules.light.values()):
        registry.card(rule.model)
    return registry


def read_cards(weights_dir: Path) -> Cards:
    """Read the cards of networks and ensembles alone, without fusion and rules.

    For training, which makes those later, from these. Raises BadWeights as ``read_registry`` does.
    """
    return Cards(weights_dir, _cards(_document(weights_dir), weights_dir))


def _document(weights_dir: Path) -> Any:
    path = weights_dir / REGISTRY_FILE
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadWeights(f"no model registry at {path}; set the weights folder to one that has it") from None
    except ValueError as error:
        raise BadWeights(f"the model registry {path} is damaged: {error!r}") from error


def _cards(document: Any, weights_dir: Path) -> Mapping[str, ModelCard]:
    try:
        return MappingProxyType(model_cards(document["models"]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        path = weights_dir / REGISTRY_FILE
        raise BadWeights(f"the model registry {path} is damaged: {error!r}") from error


def _fusion(document: Any, cards: Mapping[str, ModelCard], weights_dir: Path) -> FusionCard | None:
    path, row = weights_dir / REGISTRY_FILE, document.get(FUSION)
    try:
        return None if row is None else fusion_card(row, cards, path)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadWeights(f"the fusion's card in {path} is damaged: {error!r}") from error
