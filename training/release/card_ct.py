"""``python -m training card-ct``: the card of a CT model, from the registry and from measured figures."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.options import step_parser
from training.release.card_text import (
    CardText,
    beginnings,
    calibration_text,
    check_measured_on,
    files,
    networks_text,
    table,
    write_card,
)
from worker.vision.registry import ModelCard, read_cards
from worker.vision.slices.window import BRAIN_LEVEL_HU, BRAIN_WINDOW_HU

DATA = (
    (
        "brainstroke (650 px JPEGs, very likely PhysioNet CT-ICH, Hssayeni et al., Data 2020)",
        "MIT (repository)",
    ),
    ("Head CT - hemorrhage (Kaggle, F. Kitamura)", "none stated"),
    ("The Whole Brain Atlas (Johnson and Becker), from Havard-Medical-Image-Fusion-Datasets", "none stated"),
    ("Kaggle brain-ct-tumor-classification, its aneurysm patient only", "none stated"),
    ("multimodal-image-fusion-to-detect-brain-tumors: 14 real tumour slices", "MIT (repository)"),
    ("Rorden scct templates (NeuroImage 2012), whole head and brain only", "BSD-2-Clause; unstated"),
    ("all data of mr-teacher (mr-teacher.md): shapes of lesions, and weights to begin with", "see there"),
)

LIMITS = """\
- **Research only, not for diagnosis, not clinically validated.** No public set of CT tumours could be had:
  all but 14 of the training tumours, and nearly all of the figures above, are **synthetic masses** drawn by
  the same generator. They say that the score follows the mass and not its source; not how many real tumours
  are found.
- The study rule was chosen on the same kind of synthetic masses in whole series
  (`training.synthetic_ct.series`): it holds for what they look like.
- The few real tumours come from another source than all healthy slices, so an AUC of theirs may know the
  source. It stands beside the synthetic figures for that reason only.
- Look-alikes (bleeds, infarcts, clips) are an output of their own; infarcts and clips are mostly synthetic.
- Slices through face and skull base hold no synthetic mass and were seen as tumour-free only.
- Template sections of val are fresh cuts of the volumes that training cut too.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = step_parser("card-ct", __doc__, "--training", "--weights")
    parser.add_argument("--figures", type=Path, nargs="+", required=True, help="JSON of the step evaluate-ct")
    options = parser.parse_args(arguments)
    figures = [json.loads(path.read_text(encoding="utf-8")) for path in options.figures]
    card = read_cards(options.weights).card(figures[0]["model"])
    check_measured_on(card.sha256, figures)
    text = card_text(card, card.networks, figures, options.training)
    write_card(card.name, text, options.weights)


def card_text(
    card: ModelCard, networks: Sequence[ModelCard], figures: Sequence[Mapping[str, Any]], training: str
) -> CardText:
    """The card of a CT model, one block of figures for each split.

    ``networks`` are the model itself, or the members of the ensemble.
    """
    began = [(f"{package}: {what}", licence) for package, what, licence in beginnings(networks)]
    return CardText(
        title=f"{card.name} {card.version}",
        paragraphs=[
            f"{files(networks)}, CT, SHA-256 `{card.sha256}`. Written by `python -m training card-ct`.",
            f"{networks_text(card, networks)}; one slice of {card.input_px} x {card.input_px} px in the "
            f"brain window (width {BRAIN_WINDOW_HU:g} HU, level {BRAIN_LEVEL_HU:g} HU), cropped to the head. "
            f"It says: tumour or none; {', '.join(card.classes)}; a lesion mask; "
            "whether the slice shows a head.",
            calibration_text(card),
            f"Training: {training}",
        ],
        figures=[line for split in figures for line in _split(split)],
        data=table(("source", "licence"), (*DATA, *began)),
        limits=LIMITS,
    )


def _split(figures: Mapping[str, Any]) -> list[str]:
    """Every figure of one split, one a row."""
    split = figures["split"]
    rows = [(name, value) for name, value in _flat(figures) if name not in _NO_FIGURE]
    title = f"## Figures, {split} split (`python -m training evaluate-ct --split {split}`)"
    return [title, "", *table(("figure", "value"), rows)]


_NO_FIGURE = ("model", "sha256", "split")


def _flat(tree: Mapping[str, Any], path: str = "") -> list[tuple[str, str]]:
    """Leaves of nested figures as text, their names joined."""
    leaves: list[tuple[str, str]] = []
    for name, value in tree.items():
        if isinstance(value, Mapping):
            leaves += _flat(value, f"{path}{name}: ")
        else:
            leaves.append((path + name, f"{value:.3f}" if isinstance(value, float) else str(value)))
    return leaves
