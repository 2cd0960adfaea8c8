"""All weight files of a folder against the hashes on their cards."""

from pathlib import Path

from worker.vision.registry.fusion_registry import verify_fusion
from worker.vision.registry.registry import ModelCard, cards, verified_file


def verify_all(weights_dir: Path) -> tuple[ModelCard, ...]:
    """Every model's card, after each weight file, also of the fusion, was compared with its hash.

    Raises BadWeights.
    """
    verify_fusion(weights_dir)
    found = tuple(cards(weights_dir).values())
    for model in found:
        if not model.members:
            verified_file(model, weights_dir)
    return found
