"""Whole volumes through the worker's own door: ``python -m training evaluate-volumes --volumes CSV``.

Each volume of the file is a study of its own. Prints a table; ``--json`` writes the same for machines.
"""

import json
from collections.abc import Sequence
from typing import Any

from neurotriage.core.values import Outcome
from training.data.volumes import VolumeRow, read_rows, read_volume
from training.options import step_parser
from worker.vision import EngineRequest, Models, analyse_volumes, load_models


def evaluate_volumes(rows: Sequence[VolumeRow], models: Models) -> dict[str, Any]:
    """Counts of what must not happen, and the outcome of each volume.

    A volume is healthy here where no tumour is known in it; other disease counts as such too.
    """
    volumes = [judged(row, models) for row in rows]

    def count(tumour: bool, outcome: Outcome) -> int:
        return sum(row["tumour"] is tumour and row["outcome"] == outcome.value for row in volumes)

    return {
        "n": {"healthy": sum(r.tumour is False for r in rows), "tumour": sum(r.tumour is True for r in rows)},
        "present_on_healthy": count(False, Outcome.PRESENT),
        "absent_on_tumour": count(True, Outcome.ABSENT),
        "undetermined_on_healthy": count(False, Outcome.UNDETERMINED),
        "undetermined_on_tumour": count(True, Outcome.UNDETERMINED),
        "volumes": volumes,
    }


def judged(row: VolumeRow, models: Models) -> dict[str, Any]:
    """One volume as a study."""
    study, _ = analyse_volumes([read_volume(row)], models)
    probability = study.predictions[0].probabilities["tumour"] if study.predictions else None
    return {
        "path": row.path.name,
        "label": row.label,
        "tumour": row.tumour,
        "outcome": study.outcome.value,
        "triage": study.triage.value,
        "probability": None if probability is None else round(probability, 4),
        "reason": study.reasons[0].code.value,
        "findings": len(study.findings),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = step_parser(
        "evaluate-volumes",
        "Judge whole volumes as the worker does",
        "--volumes",
        "--split",
        "--weights",
        "--engine",
        "--json",
    )
    parser.add_argument("--modality", help="only rows of this modality")
    options = parser.parse_args(arguments)
    rows = [
        row
        for row in read_rows(options.volumes)
        if options.split in (None, row.split) and options.modality in (None, row.modality)
    ]
    figures = evaluate_volumes(rows, load_models(options.weights, engine=EngineRequest(options.engine)))
    for volume in figures["volumes"]:
        print(" ".join(f"{name}={value}" for name, value in volume.items()))
    print({name: value for name, value in figures.items() if name != "volumes"})
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
