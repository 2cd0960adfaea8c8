"""Cards, rules and hashes of the weights, each checked before anything is loaded.

Needs no torch, but for ``loading`` and ``self_check``.
"""

from worker.vision.registry.cards import BadWeights, Card, FusionCard, ModelCard
from worker.vision.registry.registry import Registry, read_cards, read_registry
from worker.vision.registry.rule import StudyRule

__all__ = [
    "BadWeights",
    "Card",
    "FusionCard",
    "ModelCard",
    "Registry",
    "StudyRule",
    "read_cards",
    "read_registry",
]
