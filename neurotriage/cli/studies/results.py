"""``neurotriage results``: the outcomes of the studies."""

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import typer

from neurotriage.cli import database
from neurotriage.cli.serve_discovery import settings_beside_serve
from neurotriage.cli.tables import print_whole
from neurotriage.core.priority import Priority

_UID_WIDTH = 20


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def register(app: typer.Typer) -> None:
    app.command()(results)


def results(
    study: str = typer.Argument("", help="Only this study, by StudyInstanceUID or accession number."),
    form: Format = typer.Option(Format.TABLE, "--format", help="table; json, as in result.json; csv."),
    limit: int = typer.Option(50, min=1, max=10000, help="At most this many studies, newest first."),
    pictures: Path | None = typer.Option(
        None, file_okay=False, help="Write the page and overlays of STUDY into this folder as PNG files."
    ),
) -> None:
    """Show the outcome of each study, newest first.

    Example: neurotriage results --format json
    """
    from db import queries

    if pictures is not None and not study:
        raise typer.BadParameter("--pictures needs a STUDY")
    with database.connection() as connection:
        ids = queries.find_studies(connection, study) if study else None
        if ids == []:
            typer.echo(f"no study has the StudyInstanceUID or accession number {study}", err=True)
            raise typer.Exit(1)
        if ids and pictures is not None:
            _write_pictures(connection, ids, pictures)
            return
        rows = queries.study_results(connection, limit=limit, study_ids=ids)
        if form is Format.JSON:
            typer.echo(json.dumps([_entry(connection, row) for row in rows], indent=2))
        elif form is Format.CSV:
            _print_csv(queries.study_results_columns(connection), rows)
        else:
            print_table(rows)


def _write_pictures(connection: Any, study_ids: Sequence[int], folder: Path) -> None:
    """Write into ``folder``; of several studies with one accession number, into a subfolder for each."""
    from db import queries
    from neurotriage.cli.studies.pictures import write_pictures  # pydicom takes its time to import
    from neurotriage.core.storage import Storage

    storage = Storage(settings_beside_serve().storage.root)
    missing = False
    for study_id in study_ids:
        known = queries.history(connection, study_id)
        uid = known.row["study_instance_uid"]
        written = write_pictures(storage, known.objects, folder if len(study_ids) == 1 else folder / uid)
        for path in written:
            typer.echo(str(path))
        if not written:
            missing = True
            typer.echo(f"{uid} has no pictures: it is {known.row['outcome'] or known.row['state']}", err=True)
    if missing:
        raise typer.Exit(1)


def _entry(connection: Any, row: Mapping[str, Any]) -> dict[str, Any]:
    from db import queries
    from neurotriage.core.result_json import study_entry, unanalysed_entry

    (study_id,) = queries.find_studies(connection, row["study_instance_uid"])[:1]
    known = queries.history(connection, study_id)
    if known.analysis is None:
        entry = unanalysed_entry(row, known.hops_s)
    else:
        words = None if known.text is None else known.text.summary
        entry = study_entry(known.analysis, known.objects, known.hops_s, summary=words)
    served = {"as": row["priority"], "basis": row["priority_basis"], "evidence": row["priority_evidence"]}
    return {**entry, "served": served}


def _print_csv(columns: Sequence[str], rows: list[Mapping[str, Any]]) -> None:
    writer = csv.DictWriter(sys.stdout, columns)
    writer.writeheader()
    writer.writerows(rows)


def _served(row: Mapping[str, Any]) -> str:
    """The class of a study that is not served in its turn."""
    return "" if row["priority"] == Priority.ROUTINE else f"({row['priority']})"


def print_table(rows: list[Mapping[str, Any]]) -> None:
    """Print a line per study."""
    from rich.box import SIMPLE
    from rich.table import Column, Table

    # Both in full, on several lines if need be: `neurotriage why` takes either.
    names = Column("study, accession", overflow="fold", min_width=_UID_WIDTH)
    headings = ("outcome", "triage", "tumour", "findings", "sent", "why")
    table = Table(names, *headings, box=SIMPLE, padding=(0, 1, 0, 0))
    for row in rows:
        probability = row["tumour_probability"]
        table.add_row(
            " ".join(filter(None, (row["study_instance_uid"], row["accession_number"], _served(row)))),
            row["outcome"] or row["state"],
            row["triage"] or "",
            "" if probability is None else f"{100 * probability:.0f} %",
            str(row["findings"]),
            f"{row['deliveries_stored']}/{row['deliveries']}",
            "; ".join(filter(None, (row["reasons"], row["notes"] and f"note: {row['notes']}"))),
        )
    print_whole(table)
