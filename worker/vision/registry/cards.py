"""The cards of ``weights/registry.json``: what each model is, and that its weight file is what the card says.

A model is one network, an ensemble of networks, or the fusion of one CT and one MR network. Files are never
pickle, and one whose hash is not the card's is refused before it is parsed. Needs no torch.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import file_digest, sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any

from neurotriage.core.errors import SetupError

FIRST_ARCHITECTURE = "efficientnet-lite0"  # of the cards that were written before there was a choice
ENSEMBLE = "ensemble"  # the architecture of a card with members
FUSION = "fusion"  # the fusion's key in the registry, and its name
MODALITIES = ("CT", "MR")  # of the fusion's members


class BadWeights(SetupError):
    """A registry, rule or weight file that must not be used; the text says what is wrong and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A model: its name, its weight file, and the numbers fixed for it on validation data."""

    name: str
    version: str
    file: str  # in the weights folder; "" for an ensemble
    sha256: str  # of the file; of an ensemble what ``ensemble_sha256`` says
    temperature: float  # the tumour logit is divided by it before the sigmoid
    thresholds: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    classes: tuple[str, ...] = ()
    # logits for the drawn slices or features of ``self_check``, as they were at export
    answers: Mapping[str, tuple[float, ...]] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def networks(self) -> "tuple[Card, ...]":
        """The cards whose files hold its weights, in order."""
        return (self,)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard(Card):
    """A network that judges slices of one modality, or an ensemble of such networks."""

    modality: str  # "MR" or "CT"
    input_px: int  # side of the square slices that it takes
    architecture: str = FIRST_ARCHITECTURE
    members: "tuple[ModelCard, ...]" = ()  # the networks of an ensemble, in order
    mirrored: bool = False  # of an ensemble: it looks at each slice as it is and mirrored

    @property
    def networks(self) -> "tuple[ModelCard, ...]":
        """The networks that it consists of, in order: its members, or itself."""
        return self.members or (self,)


@dataclass(frozen=True, slots=True)
class Experiment:
    """A head that is no result until its interval says more than chance."""

    auc_roc: dict[str, Any] | None  # value, low, high, n_groups; on val, over patients
    allowed: bool = False  # whether results may name it; none does so far


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionCard(Card):
    """The network that judges CT and MR together.

    Its thresholds: "tumour" is that of a slice pair, "raise" that from which it makes a doubt a tumour.
    """

    members: Mapping[str, ModelCard]  # by modality: the network through whose encoder it sees
    experiments: Mapping[str, Experiment] = field(default_factory=lambda: MappingProxyType({}))

    def place_in(self, model: ModelCard) -> int | None:
        """Which network of a model the fusion sees through, in order; None where it is none of them."""
        member, names = self.members.get(model.modality), [network.name for network in model.networks]
        return names.index(member.name) if member and member.name in names else None


def verified_file(card: Card, weights_dir: Path) -> Path:
    """A weight file whose SHA-256 was compared with the card's; for a card that has a file.

    Raises BadWeights where it is no safetensors file, cannot be read, or has another hash.
    """
    path = weights_dir / card.file
    if path.suffix != ".safetensors":
        raise BadWeights(f"{path.name} of model {card.name} is no safetensors file")
    try:
        with path.open("rb") as file:
            digest = file_digest(file, sha256).hexdigest()
            size_bytes = file.tell()
    except OSError as error:
        raise BadWeights(f"the weights of model {card.name} cannot be read: {error}") from error
    if digest != card.sha256:
        raise BadWeights(
            f"{path} ({size_bytes} bytes) has SHA-256 {digest}, the registry says {card.sha256}: truncated, "
            "damaged or of another version; restore the file from the release"
        )
    return path


def ensemble_sha256(members: Sequence[ModelCard], *, mirrored: bool) -> str:
    """The hash that names an ensemble: SHA-256 over the hashes of its members, as text, in order.

    After them comes "mirrored", if it is.
    """
    known_by = [*(member.sha256 for member in members), *(["mirrored"] if mirrored else [])]
    return sha256("".join(known_by).encode("ascii")).hexdigest()


def check_members(ensemble: ModelCard) -> None:
    """Raises BadWeights where the members of an ensemble do not fit together or are not what they were."""
    _only_networks(ensemble.name, [member.name for member in ensemble.members if member.members])
    for member in ensemble.members:
        for what in ("modality", "input_px", "classes"):
            if getattr(member, what) != getattr(ensemble, what):
                raise BadWeights(f"{member.name} has another {what} than its ensemble {ensemble.name}")
    if ensemble.sha256 != ensemble_sha256(ensemble.members, mirrored=ensemble.mirrored):
        raise BadWeights(
            f"the ensemble {ensemble.name} was formed of other weights than those of "
            f"{', '.join(member.name for member in ensemble.members)}; form it again with "
            "python -m training ensemble"
        )


def model_cards(rows: Iterable[Mapping[str, Any]]) -> dict[str, ModelCard]:
    """The rows under ``models`` as cards, by name and in their order.

    Raises BadWeights as ``check_members`` does; AttributeError, KeyError, TypeError or ValueError where the
    rows are no cards.
    """
    rows = list(rows)
    networks = {str(row["name"]): _model_card(row, ()) for row in rows if not row.get("members")}
    cards = {}
    for row in rows:
        name, members = str(row["name"]), tuple(map(str, row.get("members", ())))
        _only_networks(name, [member for member in members if member not in networks])
        cards[name] = _model_card(row, tuple(networks[member] for member in members))
        if members:
            check_members(cards[name])
    return cards


def fusion_card(row: Mapping[str, Any], known: Mapping[str, ModelCard], place: Path) -> FusionCard:
    """The row under ``fusion`` as a card; ``place`` is the file that a fault is reported of.

    Raises BadWeights where its members are not ``known`` by their hashes; AttributeError, KeyError, TypeError
    or ValueError where the row is no card.
    """
    members = {}
    for modality in MODALITIES:
        name, digest = (str(row["members"][modality][key]) for key in ("name", "sha256"))
        network = known.get(name)
        if network is None or network.modality != modality or network.sha256 != digest:
            raise BadWeights(
                f"the fusion in {place} was trained on other weights of {name} than those that are "
                "there; train it again with python -m training fusion"
            )
        members[modality] = network
    experiments = {k: Experiment(v["auc_roc"], v["allowed"] is True) for k, v in row["experiments"].items()}
    return FusionCard(
        **_common(
            {**row, "name": FUSION, "thresholds": {k: row["thresholds"][k] for k in ("tumour", "raise")}}
        ),
        file=str(row["file"]),
        members=MappingProxyType(members),
        experiments=MappingProxyType(experiments),
    )


def _model_card(row: Mapping[str, Any], members: tuple[ModelCard, ...]) -> ModelCard:
    return ModelCard(
        **_common(row),
        file="" if "members" in row else str(row["file"]),
        modality=str(row["modality"]),
        input_px=int(row["input_px"]),
        architecture=str(row.get("architecture", FIRST_ARCHITECTURE)),
        members=members,
        mirrored=bool(row.get("mirrored", False)),
    )


def _common(row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of ``Card``, but for the file, which an ensemble lacks."""
    return {
        "name": str(row["name"]),
        "version": str(row["version"]),
        "sha256": str(row["sha256"]),
        "temperature": float(row["temperature"]),
        "thresholds": MappingProxyType({key: float(value) for key, value in row["thresholds"].items()}),
        "classes": tuple(row["classes"]),
        "answers": MappingProxyType({k: tuple(map(float, v)) for k, v in row.get("answers", {}).items()}),
    }


def _only_networks(ensemble: str, others: Sequence[str]) -> None:
    if others:
        raise BadWeights(f"the ensemble {ensemble} has members that are no networks here: {list(others)}")
