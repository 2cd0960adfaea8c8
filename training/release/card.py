"""``python -m training card``: the card of an MR model, from the registry and from measured figures."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.evaluation.bootstrap import shown
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

# source, what, licence as its publisher states it
DATA = (
    (
        "figshare 1512427 (Cheng et al., PLoS ONE 2015 and 2016)",
        "T1 with contrast agent; meningioma, glioma, pituitary adenoma, masks",
        "CC BY 4.0",
    ),
    (
        "LGG segmentation set, TCGA (Buda et al., Comput. Biol. Med. 2019)",
        "T1, FLAIR, T1 with contrast agent; slices with and without tumour, masks",
        "CC BY-NC-SA 4.0; TCIA data usage policy",
    ),
    (
        "Brain-Tumor-Progression (Schmainda and Prah, TCIA 2018)",
        "glioblastoma, T1 with contrast agent, masks",
        "CC BY 3.0",
    ),
    ("Br35H (Hamada, 2020)", "web images with and without tumour, some masks", "none stated"),
    ("Brain Tumor MRI Dataset (Nickparvar, 2021), notumor", "web images without tumour", "CC0"),
    ("NiChart demo (University of Pennsylvania)", "T1 and FLAIR of older adults", "NiChart_Project"),
    (
        "The Whole Brain Atlas (Johnson and Becker), from Havard-Medical-Image-Fusion-Datasets",
        "mostly T2",
        "none stated",
    ),
    (
        "multimodal-image-fusion-to-detect-brain-tumors",
        "slices of tumour patients, no masks",
        "MIT (repository); origin not stated",
    ),
    ("scikit-learn's sample photographs", 'part of what is "no head"', "CC BY 2.0"),
)

LIMITS = """\
- **Research only, not for diagnosis, not for commercial use**: several of the data licences above forbid it
  or are not stated. A commercial site trains again on data of its own: `python -m training train --manifest`.
- No healthy person in the training data has contrast agent, and no source has both healthy people and
  patients. Contrast is randomised, lesions are pasted into tumour-free slices and tumour-free slices of
  patients are used against that; the figures by source and inside patients show how far it works.
- figshare has no patient ids here; its groups are runs of similar slices (a proxy), so its intervals are
  too narrow. Some sources hold one or a few patients in the test split: no interval is given for them.
- "Benign" means meningioma or pituitary adenoma after contrast agent; other benign lesions were never seen.
  The classes share their boundaries with the sources of the data.
- Gliomas after contrast agent are often called benign where they come from another batch than the one in
  training (figshare; table above). "Malignant" on LGG and Brain-Tumor-Progression may know the source.
- Whole Brain Atlas, test split: one of its two cases has a bleed and bright lesions in which a tumour cannot
  be excluded; it is left in, and lowers the figures of "tumour against none".
- Strokes, bleeds, inflammation and treated tumours look alike and were hardly seen in training.
- T2 and PD are rare in training and absent among healthy people.
- The head output learnt synthetic pictures as "no head"; it is one of several checks, not a guarantee.
- Grad-CAM was supervised: in training, evidence off the lesion was penalised. It shows where the score
  comes from, not where the tumour ends.
"""

# text, path of the figure, at least (else at most), aim
TARGETS = (
    ("tumour against healthy people, AUC", "tumour/against_healthy/auc_roc", True, 0.99),
    ("the same, sensitivity at the val threshold", "tumour/against_healthy/sensitivity", True, 0.97),
    ("the same, specificity", "tumour/against_healthy/specificity", True, 0.95),
    ("three classes, macro F1", "classes/macro_f1", True, 0.85),
    ("inside patients, AUC", "tumour/within_patients/auc_roc", True, 0.95),
    (
        "inside patients, false positives at sensitivity 0.90",
        "tumour/within_patients/false_positive_rate_at_sensitivity_090",
        False,
        0.10,
    ),
    ("Grad-CAM, pointing game", "localisation/grad_cam/pointing", True, 0.90),
    ("decoder, Dice", "localisation/decoder/dice", True, 0.75),
    ("decoder, mask IoU", "localisation/decoder/mask_iou", True, 0.65),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = step_parser("card", __doc__, "--training", "--weights")
    parser.add_argument("--figures", type=Path, required=True, help="JSON of the step evaluate, test split")
    options = parser.parse_args(arguments)
    figures = json.loads(options.figures.read_text(encoding="utf-8"))
    card = read_cards(options.weights).card(figures["model"])
    check_measured_on(card.sha256, [figures])
    size_bytes = sum((options.weights / network.file).stat().st_size for network in card.networks)
    text = card_text(card, card.networks, figures, options.training, size_bytes)
    write_card(card.name, text, options.weights)


def card_text(
    card: ModelCard, networks: Sequence[ModelCard], figures: dict[str, Any], training: str, size_bytes: int
) -> CardText:
    """The card of an MR model; ``networks`` are the model itself, or the members of the ensemble."""
    return CardText(
        title=f"{card.name} {card.version}",
        paragraphs=[
            f"{files(networks)}, {card.modality}, {size_bytes / 1e6:.1f} MB in half precision, "
            f"SHA-256 `{card.sha256}`.",
            "Written by `python -m training card` from measured figures; do not edit by hand.",
            *_description(card, networks, training),
            "## Figures on the test split",
            f"By `python -m training evaluate --model {card.name} --split test`; temperature and thresholds "
            "were fixed on the val split before. In brackets: 95 % bootstrap interval over groups (patients "
            "or the best proxy).",
        ],
        figures=[
            *_targets(figures),
            *_overall(figures),
            *_sources(figures),
            *_inside(figures),
            *_confusion(figures),
        ],
        data=table(("source", "what", "licence"), (*DATA, *beginnings(networks))),
        limits=LIMITS,
    )


def _description(card: ModelCard, networks: Sequence[ModelCard], training: str) -> list[str]:
    return [
        "## What it is",
        f"{networks_text(card, networks)}; one grey slice of "
        f"{card.input_px} x {card.input_px} px, cropped to the head and scaled by its own percentiles. It "
        f"says: tumour or none; {', '.join(card.classes)}; a lesion mask; whether the slice shows a head.",
        f"{calibration_text(card)} The tumour threshold has sensitivity 0.97 over all val slices. Where a "
        "slice has several sequences, the figures below hold for their maps combined; in a study each series "
        "is outlined by itself.",
        f"Training: {training}",
    ]


def figure_at(figures: dict[str, Any], path: str) -> Any:
    """A figure by the names that lead to it; None where there is none."""
    figure: Any = figures
    for name in path.split("/"):
        figure = figure.get(name) if figure else None
    return figure


def _targets(figures: dict[str, Any]) -> list[str]:
    """Each aim with the value that was reached, missed ones included."""
    rows = []
    for text, path, at_least, aim in TARGETS:
        figure = figure_at(figures, path)
        met = figure is not None and (figure["value"] >= aim if at_least else figure["value"] <= aim)
        sign = "at least" if at_least else "at most"
        rows.append((f"{text}: {sign} {aim:.2f}", shown(figure), "met" if met else "**missed**"))
    return table(("aim", "reached", ""), rows)


def _overall(figures: dict[str, Any]) -> list[str]:
    tumour, inside, classes = figures["tumour"], figures["tumour"]["within_patients"], figures["classes"]
    rows = [("tumour against none", name, tumour[name]) for name in _BINARY]
    healthy = tumour["against_healthy"]
    rows += [("tumour against healthy people", name, healthy[name]) for name in _BINARY[:4]]
    rows += [("inside patients", name, inside.get(name)) for name in _INSIDE]
    rows += [("classes", name, classes.get(name)) for name in _CLASSES]
    places = figures["localisation"]
    for method in ("decoder", "grad_cam"):
        rows += [(method, name, value) for name, value in places[method].items()]
    for sequence, block in places.get("by_sequence", {}).items():
        alone = block["decoder"]
        rows += [(f"decoder, {sequence} alone", name, alone[name]) for name in ("dice", "mask_iou")]
    return table(("question", "figure", "value"), [(what, name, shown(value)) for what, name, value in rows])


def _sources(figures: dict[str, Any]) -> list[str]:
    columns = ("auc_roc", "sensitivity", "specificity")
    rows = [
        (source, str(block["n"]), *(shown(block[name]) for name in columns))
        for source, block in figures["tumour"]["by_source"].items()
    ]
    return ["By source:", "", *table(("source", "slices", "AUC", "sensitivity", "specificity"), rows)]


def _inside(figures: dict[str, Any]) -> list[str]:
    inside = figures["tumour"]["within_patients"]
    blocks = {**inside["by_source"], **{f"one channel: {k}": v for k, v in inside["by_sequence"].items()}}
    rows = [
        (name, str(block["n"]), *(shown(block[figure]) for figure in _INSIDE[:2]))
        for name, block in blocks.items()
    ]
    columns = ("slices of tumour patients", "slices", "AUC", "false positives at sensitivity 0.90")
    return ["With against without tumour, slices of the same patients:", "", *table(columns, rows)]


def _confusion(figures: dict[str, Any]) -> list[str]:
    """By source: how many slices of each true class were called by the name of each class."""
    names = figures["classes"]["names"]
    rows = [
        (source, name, *map(str, row))
        for source, block in figures["classes"]["by_source"].items()
        for name, row in zip(names, block["confusion"], strict=True)
        if any(row)
    ]
    columns = ("source", "truth", *(f"called {name}" for name in names))
    return ["Classes by source, slices:", "", *table(columns, rows)]


_BINARY = ("auc_roc", "auc_pr", "sensitivity", "specificity", "ppv", "npv", "f1", "mcc", "ece")
_INSIDE = ("auc_roc", "false_positive_rate_at_sensitivity_090", "sensitivity", "false_positive_rate")
_CLASSES = ("macro_f1", "accuracy", "kappa", "f1_healthy", "f1_benign", "f1_malignant")
