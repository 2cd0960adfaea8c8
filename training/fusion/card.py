"""``python -m training card-fusion``: the fusion's card, from the registry and from measured figures."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from training.evaluation.bootstrap import shown
from training.fusion.evaluate import VARIANTS
from training.fusion.patients import QUESTIONS
from training.options import step_parser
from training.release.card_text import CardText, check_measured_on, table, thresholds_text, write_card
from worker.vision.registry import FusionCard, read_registry

LIMITS = """\
- **Research only, not for diagnosis, not clinically validated.** Real pairs of CT and MR are few (table),
  and say no more than tumour or none; nearly all with a tumour come from a source that has no other pairs.
- **Synthetic pairs** are the MR slice of a patient beside the CT slice of another person, into which the same
  outline was drawn at the same place. They say that both modalities are used and that either may be missing;
  not what a real pair of one patient gives. The kind of a tumour is known from MR alone.
- Whole Brain Atlas, test split: one of its two cases has a bleed and bright lesions in which a tumour cannot
  be excluded; it is left in as tumour-free, and most false alarms on real pairs are its slices.
- The threshold from which a fused score makes a doubt a tumour was chosen on slice pairs of val: there are
  no paired volumes to choose it on.
- Limits and licences of the members' data hold here too (their cards).
- Stage and survival are experiments: no result names them.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = step_parser("card-fusion", __doc__, "--training", "--weights")
    parser.add_argument("--figures", type=Path, nargs="+", required=True, help="JSON of the step evaluate")
    options = parser.parse_args(arguments)
    figures = [json.loads(path.read_text(encoding="utf-8")) for path in options.figures]
    card = read_registry(options.weights).fusion
    if card is None:
        raise SystemExit(
            f"the registry in {options.weights} has no fusion; python -m training fusion makes one"
        )
    check_measured_on(card.sha256, figures)
    write_card(card.name, card_text(card, figures, options.training), options.weights)


def card_text(card: FusionCard, figures: Sequence[Mapping[str, Any]], training: str) -> CardText:
    """The card of the fusion network, one block of figures for each split."""
    members = ", ".join(
        f"{modality} `{member.name}` ({member.sha256[:12]})" for modality, member in card.members.items()
    )
    experiments = [
        f"- {name}: AUC on val {shown(experiment.auc_roc)}; "
        f"allowed in results: {'yes' if experiment.allowed else 'no'}"
        for name, experiment in card.experiments.items()
    ]
    return CardText(
        title=f"{card.name} {card.version}",
        paragraphs=[
            f"File `{card.file}`, SHA-256 `{card.sha256}`. Written by `python -m training card-fusion`.",
            f"Sees through the frozen encoders of {members}: averages of the decoder's stride-8 map and of "
            "the encoder's last map, 512 numbers of each modality, joined to 1024 of length 1. It says: "
            f"{', '.join(card.classes)}; tumour is what is not healthy. A modality may be missing.",
            f"Temperature {card.temperature:g}; thresholds fixed on pairs of val: "
            f"{thresholds_text(card.thresholds)}.",
            "Experiments (WHO grade 2 against 3, vital status; over patients):",
            "\n".join(experiments),
            f"Training: {training}",
        ],
        figures=[line for split in figures for line in _split(split)],
        limits=LIMITS,
    )


_COLUMNS = ("pairs", "given", "slices", "tumour AUC", "sensitivity", "specificity", "classes macro F1")


def _split(figures: Mapping[str, Any]) -> Iterator[str]:
    split, synthetic, alone = figures["split"], figures["synthetic"], figures["mr_alone"]
    yield f"## Figures, {split} split"
    yield ""
    yield f"By `python -m training evaluate --model fusion --split {split}`; {figures['interval']}."
    yield ""
    yield from table(
        _COLUMNS,
        [
            *(_cells("real", name, figures["tumour"][name], None) for name in VARIANTS),
            *(
                _cells("synthetic", name, synthetic["tumour"][name], synthetic["classes"][name])
                for name in VARIANTS
            ),
            _cells("none", "MR slices alone", alone["tumour"], alone["classes"]),
        ],
    )
    same = {name: figures["tumour"][name]["within_patients"] for name in VARIANTS}
    aucs = ", ".join(
        f"{name.replace('_', ' ')} {shown(block['auc_roc'])}" for name, block in same.items() if block["n"]
    )
    if aucs:
        slices = same["both"]["n"]
        yield f"Real pairs, with against without tumour in the same patients ({slices} slices): AUC {aucs}."
        yield ""
    for name in QUESTIONS:
        block = figures[name]
        yield f"{name}: {block['n']} patients, {block['positive']} positive, AUC {shown(block['auc_roc'])}."
        yield ""


def _cells(kind: str, given: str, tumour: Mapping[str, Any], classes: Mapping[str, Any] | None) -> list[str]:
    figures = [shown(tumour[name]) for name in ("auc_roc", "sensitivity", "specificity")]
    f1 = shown(classes["macro_f1"]) if classes else "not known"
    return [kind, given.replace("_", " "), str(tumour["n"]), *figures, f1]
