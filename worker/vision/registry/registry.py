"""A weights folder, read once: the cards of its models and the study rules by which they decide.

``registry.json`` lists the models, ``study_rule.json`` says which of them answer. Needs no torch.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

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
from worker.vision.registry.rule import StudyRule, read_rules

REGISTRY_FILE = "registry.json"


@dataclass(frozen=True, slots=True)
class Registry:
    """The models of a weights folder as they were when it was read; ``verify`` checks their weight files."""

    folder: Path
    cards: Mapping[str, ModelCard]  # by name
    fusion: FusionCard | None = None
    deciding: Mapping[str, StudyRule] = field(default_factory=lambda: MappingProxyType({}))  # by modality
    light: Mapping[str, StudyRule] = field(default_factory=lambda: MappingProxyType({}))  # to fall back on

    def card(self, name: str) -> ModelCard:
        """One model's card. Raises BadWeights where the registry does not list it."""
        if name not in self.cards:
            raise BadWeights(
                f"no model {name!r} in {self.folder / REGISTRY_FILE}; it lists {sorted(self.cards)}"
            )
        return self.cards[name]

    @property
    def modalities(self) -> frozenset[str]:
        """The modalities ("MR", "CT") that a model decides."""
        return frozenset(self.deciding)

    @property
    def deciding_models(self) -> tuple[ModelCard, ...]:
        """The models that may answer: those that decide, and those to fall back on."""
        return tuple(self.card(rule.model) for rule in (*self.deciding.values(), *self.light.values()))

    @property
    def reported_models(self) -> tuple[Card, ...]:
        """What a result may name: the models that may answer, and the fusion where there is one."""
        return (*self.deciding_models, *self._fusions)

    def verify(self, *cards: Card) -> None:
        """Compare every weight file of these models with its hash. Raises BadWeights."""
        for card in cards:
            for network in card.networks:
                verified_file(network, self.folder)

    def verify_all(self) -> None:
        """Compare every weight file of the registry with its hash. Raises BadWeights."""
        self.verify(*(card for card in self.cards.values() if not card.members), *self._fusions)

    @property
    def _fusions(self) -> tuple[FusionCard, ...]:
        return () if self.fusion is None else (self.fusion,)


def read_registry(weights_dir: Path) -> Registry:
    """Read a weights folder whose models answer: cards, fusion and study rules.

    Raises BadWeights where a file is missing or damaged, an ensemble or the fusion was made of other weights
    than those that are listed, or a rule names a model that is not.
    """
    document = _document(weights_dir)
    cards = _cards(document, weights_dir)
    fusion = _fusion(document, cards, weights_dir)
    registry = Registry(weights_dir, cards, fusion, *map(MappingProxyType, read_rules(weights_dir)))
    for rule in (*registry.deciding.values(), *registry.light.values()):
        registry.card(rule.model)
    return registry


def read_cards(weights_dir: Path) -> Registry:
    """Read the cards of networks and ensembles alone, without fusion and study rules.

    For training, which makes those later, from these. Raises BadWeights as ``read_registry`` does.
    """
    return Registry(weights_dir, _cards(_document(weights_dir), weights_dir))


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
