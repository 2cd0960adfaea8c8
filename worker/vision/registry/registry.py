"""Which models there are, and how one is loaded: ``weights/registry.json`` and safetensors files.

A model is one network, or an ensemble: a card that names other models of the registry as its members.
Reading cards needs no torch; only ``load`` imports it. Files are never pickle, and one whose hash is not
the card's is refused before it is parsed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import file_digest, sha256
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from neurotriage.core.errors import SetupError

if TYPE_CHECKING:
    from worker.vision.network import Network, SliceNet

REGISTRY_FILE = "registry.json"
FIRST_ARCHITECTURE = "efficientnet-lite0"  # of the cards that were written before there was a choice
ENSEMBLE = "ensemble"  # the architecture of a card with members


class BadWeights(SetupError):
    """A registry or weight file that must not be used; the text says what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a model is, and the numbers that were fixed for it on validation data."""

    name: str
    version: str
    file: str  # in the folder of the registry; "" for an ensemble
    sha256: str  # of the file; of an ensemble what ``ensemble_sha256`` says
    modality: str
    input_px: int
    temperature: float  # the tumour logit is divided by it before the sigmoid
    thresholds: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    classes: tuple[str, ...] = ()
    architecture: str = FIRST_ARCHITECTURE
    # logits for the drawn slices of ``self_check``, as they were at export
    answers: Mapping[str, tuple[float, ...]] = field(default_factory=lambda: MappingProxyType({}))
    members: tuple[str, ...] = ()  # names of the networks of an ensemble, in order
    mirrored: bool = False  # of an ensemble: it looks at each slice as it is and mirrored


def cards(weights_dir: Path) -> dict[str, ModelCard]:
    """All models of a weights folder by name. Raises BadWeights."""
    path = weights_dir / REGISTRY_FILE
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["models"]
        found = {card.name: card for card in map(_card, rows)}
    except FileNotFoundError:
        raise BadWeights(f"no model registry at {path}; set the weights folder to one that has it") from None
    except (KeyError, TypeError, ValueError) as error:
        raise BadWeights(f"the model registry {path} is damaged: {error!r}") from error
    for model in found.values():
        if model.members:
            check_members(model, found)
    return found


def card(name: str, weights_dir: Path) -> ModelCard:
    """One model's card. Raises BadWeights where the registry does not list it."""
    known = cards(weights_dir)
    if name not in known:
        raise BadWeights(f"no model {name!r} in {weights_dir / REGISTRY_FILE}; it lists {sorted(known)}")
    return known[name]


def networks_of(model: ModelCard, weights_dir: Path) -> tuple[ModelCard, ...]:
    """The cards of the networks that a model consists of: its members, or itself. Raises BadWeights."""
    if not model.members:
        return (model,)
    known = cards(weights_dir)
    return tuple(known[name] for name in model.members)


def ensemble_sha256(members: Sequence[ModelCard], *, mirrored: bool) -> str:
    """What an ensemble is known by: SHA-256 over the hashes of its members, as text, in order.

    After them comes "mirrored", if it is.
    """
    known_by = [*(member.sha256 for member in members), *(["mirrored"] if mirrored else [])]
    return sha256("".join(known_by).encode("ascii")).hexdigest()


def verify(model: ModelCard, weights_dir: Path) -> None:
    """Compare every weight file of a model with its hash. Raises BadWeights."""
    for network in networks_of(model, weights_dir):
        verified_file(network, weights_dir)


def verified_file(model: ModelCard, weights_dir: Path) -> Path:
    """A weight file whose hash was compared with the card's. Raises BadWeights."""
    path = weights_dir / model.file
    if path.suffix != ".safetensors":
        raise BadWeights(f"{path.name} of model {model.name} is no safetensors file")
    try:
        with path.open("rb") as file:
            digest = file_digest(file, sha256).hexdigest()
            size_bytes = file.tell()
    except OSError as error:
        raise BadWeights(f"the weights of model {model.name} cannot be read: {error}") from error
    if digest != model.sha256:
        raise BadWeights(
            f"{path} ({size_bytes} bytes) has SHA-256 {digest}, the registry says {model.sha256}: truncated, "
            "damaged or of another version; restore the file from the release"
        )
    return path


def load(model: ModelCard, weights_dir: Path) -> "Network":
    """The network with its weights, float32 on the CPU, in evaluation mode. Raises BadWeights."""
    from worker.vision.network import CLASSES_OF, Ensemble

    known = CLASSES_OF.get(model.modality)
    if model.classes != known:
        raise BadWeights(f"model {model.name} has classes {model.classes}, this software knows {known}")
    networks = [_network(part, weights_dir) for part in networks_of(model, weights_dir)]
    return Ensemble(networks, mirrored=model.mirrored).eval() if model.members else networks[0]


def _network(model: ModelCard, weights_dir: Path) -> "SliceNet":
    from safetensors import SafetensorError, safe_open

    from worker.vision.network import ARCHITECTURES, SliceNet

    if model.architecture not in ARCHITECTURES:
        raise BadWeights(
            f"model {model.name} is a {model.architecture}, this software knows {sorted(ARCHITECTURES)}"
        )
    path = verified_file(model, weights_dir)
    network = SliceNet(model.architecture)
    try:
        with safe_open(path, "pt") as file:  # mapped, so that the weights are in memory only once
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            network.load_state_dict(tensors)
    except (SafetensorError, RuntimeError) as error:
        raise BadWeights(f"the weights of model {model.name} do not fit this software: {error}") from error
    return network.eval()


def _card(row: Mapping[str, Any]) -> ModelCard:
    return ModelCard(
        name=str(row["name"]),
        version=str(row["version"]),
        file="" if "members" in row else str(row["file"]),
        sha256=str(row["sha256"]),
        modality=str(row["modality"]),
        input_px=int(row["input_px"]),
        temperature=float(row["temperature"]),
        thresholds=MappingProxyType({key: float(value) for key, value in row["thresholds"].items()}),
        classes=tuple(row["classes"]),
        architecture=str(row.get("architecture", FIRST_ARCHITECTURE)),
        answers=MappingProxyType({k: tuple(map(float, v)) for k, v in row.get("answers", {}).items()}),
        members=tuple(map(str, row.get("members", ()))),
        mirrored=bool(row.get("mirrored", False)),
    )


def check_members(model: ModelCard, known: Mapping[str, ModelCard]) -> None:
    """Raises BadWeights where the members of an ensemble do not fit together or are not what they were."""
    missing = [name for name in model.members if name not in known or known[name].members]
    if missing:
        raise BadWeights(f"the ensemble {model.name} has members that are no networks here: {missing}")
    members = [known[name] for name in model.members]
    for member in members:
        for what in ("modality", "input_px", "classes"):
            if getattr(member, what) != getattr(model, what):
                raise BadWeights(f"{member.name} has another {what} than its ensemble {model.name}")
    if model.sha256 != ensemble_sha256(members, mirrored=model.mirrored):
        raise BadWeights(
            f"the ensemble {model.name} was formed of other weights than those of "
            f"{', '.join(model.members)}; form it again with python -m training ensemble"
        )
