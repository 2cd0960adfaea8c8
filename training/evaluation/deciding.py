"""The names that stand for the model that decides, be it an ensemble or one network."""

from pathlib import Path

from worker.vision.registry import ModelCard, read_cards
from worker.vision.registry.rule import read_rule_file

DECIDING = ("mr", "ct")


def named(model: str, weights_dir: Path) -> ModelCard:
    """The card of a model; "mr" and "ct" are what decides according to the study rule. Raises BadWeights."""
    if model in DECIDING:
        deciding = read_rule_file(weights_dir).deciding
        model = deciding[model.upper()].model if model.upper() in deciding else model
    return read_cards(weights_dir).card(model)
