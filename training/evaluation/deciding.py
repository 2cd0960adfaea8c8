"""The names that stand for the model that decides, be it an ensemble or one network."""

from pathlib import Path

from worker.vision.registry import registry
from worker.vision.registry.registry import ModelCard
from worker.vision.registry.rule import read_rules

DECIDING = ("mr", "ct")


def named(model: str, weights_dir: Path) -> ModelCard:
    """The card of a model; "mr" and "ct" are what decides according to the study rule. Raises BadWeights."""
    if model in DECIDING:
        rule = read_rules(weights_dir).get(model.upper())
        model = rule.model if rule else model
    return registry.card(model, weights_dir)
