"""The fusion network's card, in ``weights/registry.json`` beside the models, and how it is loaded.

Reading the card needs no torch. A registry without the card has no fusion, which is no fault.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import file_digest
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from worker.vision.registry.registry import REGISTRY_FILE, BadWeights, ModelCard, cards

if TYPE_CHECKING:
    from worker.vision.network.fusion import FusionNet

FUSION = "fusion"  # its key in the registry, and its name
MODALITIES = ("CT", "MR")


@dataclass(frozen=True, slots=True)
class Member:
    """A network of the registry whose encoder the fusion sees through."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Experiment:
    """A head that is no result until its interval says more than chance."""

    auc_roc: dict[str, Any] | None  # value, low, high, n_groups; on val, over patients
    allowed: bool = False  # whether results may name it; none does so far


@dataclass(frozen=True, slots=True)
class FusionCard:
    """What the fusion is, and the numbers that were fixed for it on validation data."""

    version: str
    file: str
    sha256: str
    members: Mapping[str, Member]  # by modality
    temperature: float  # the tumour logit is divided by it before the sigmoid
    thresholds: Mapping[
        str, float
    ]  # "tumour": of a slice pair; "raise": from which it makes a doubt a tumour
    classes: tuple[str, ...]
    experiments: Mapping[str, Experiment] = field(default_factory=lambda: MappingProxyType({}))
    # logits for the drawn features of ``self_check``, as they were when the weights were written
    answers: Mapping[str, tuple[float, ...]] = field(default_factory=lambda: MappingProxyType({}))
    name: str = FUSION

    def place_in(self, model: ModelCard) -> int | None:
        """Which network of a model the fusion sees through, in order; None where it is none of them."""
        member, networks = self.members.get(model.modality), model.members or (model.name,)
        return networks.index(member.name) if member and member.name in networks else None


def fusion_card(weights_dir: Path) -> FusionCard | None:
    """The card, None where the registry has none.

    Raises BadWeights where it is damaged, or was trained on other members than those of the registry.
    """
    path = weights_dir / REGISTRY_FILE
    known = cards(weights_dir)
    try:
        row = json.loads(path.read_text(encoding="utf-8")).get(FUSION)
        card = None if row is None else _card(row)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadWeights(f"the fusion's card in {path} is damaged: {error!r}") from error
    for modality, member in card.members.items() if card else ():
        there = known.get(member.name)
        if there is None or there.modality != modality or there.sha256 != member.sha256:
            raise BadWeights(
                f"the fusion in {path} was trained on other weights of {member.name} than those that are "
                "there; train it again with python -m training fusion"
            )
    return card


def verify_fusion(weights_dir: Path) -> FusionCard | None:
    """The card, after the weight file was compared with its hash; None where there is no fusion.

    Raises BadWeights.
    """
    card = fusion_card(weights_dir)
    if card is not None:
        verified(card, weights_dir)
    return card


def verified(card: FusionCard, weights_dir: Path) -> Path:
    """The weight file, after it was compared with the card's hash. Raises BadWeights."""
    path = weights_dir / card.file
    try:
        with path.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadWeights(f"the weights of the fusion cannot be read: {error}") from error
    if digest != card.sha256:
        raise BadWeights(
            f"{path} has SHA-256 {digest}, the registry says {card.sha256}: truncated or damaged"
        )
    return path


def load_fusion(card: FusionCard, weights_dir: Path) -> "FusionNet":
    """The network with its weights, float32, in evaluation mode. Raises BadWeights."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from worker.vision.network import CLASSES
    from worker.vision.network.fusion import FusionNet

    known = cards(weights_dir)
    if card.classes != CLASSES:
        raise BadWeights(f"the fusion has classes {card.classes}, this software knows {CLASSES}")
    network = FusionNet(
        (known[card.members["CT"].name].architecture, known[card.members["MR"].name].architecture)
    )
    try:
        network.load_state_dict(load_file(verified(card, weights_dir)))
    except (SafetensorError, RuntimeError) as error:
        raise BadWeights(f"the weights of the fusion do not fit this software: {error}") from error
    return network.float().eval()


def _card(row: Mapping[str, Any]) -> FusionCard:
    members = {
        m: Member(str(row["members"][m]["name"]), str(row["members"][m]["sha256"])) for m in MODALITIES
    }
    return FusionCard(
        version=str(row["version"]),
        file=str(row["file"]),
        sha256=str(row["sha256"]),
        members=MappingProxyType(members),
        temperature=float(row["temperature"]),
        thresholds=MappingProxyType({k: float(row["thresholds"][k]) for k in ("tumour", "raise")}),
        classes=tuple(row["classes"]),
        experiments=MappingProxyType(
            {k: Experiment(v["auc_roc"], v["allowed"] is True) for k, v in row["experiments"].items()}
        ),
        answers=MappingProxyType({k: tuple(map(float, v)) for k, v in row.get("answers", {}).items()}),
    )
