"""``neurotriage results``: what came of the studies."""

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import typer

from neurotriage.cli import database
from neurotriage.cli.tables import print_whole

_UID_WIDTH = 20


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def register(app: typer.Typer) -> None:
    app.command()(results)


def results(
    form: Format = typer.Option(Format.TABLE, "--format", help="table for people; json as result.json; csv."),
    limit: int = typer.Option(50, min=1, max=10000, help="How many studies, newest first."),
) -> None:
    """Show what came of each study, newest first.

    Example: neurotriage results --format json
    """
    from db import queries

    with database.connection() as connection:
        rows = queries.study_results(connection, limit=limit)
        if form is Format.JSON:
            typer.echo(json.dumps([_entry(connection, row) for row in rows], indent=2))
        elif form is Format.CSV:
            _print_csv(queries.study_results_columns(connection), rows)
        else:
            print_table(rows)


def _entry(connection: Any, row: Mapping[str, Any]) -> dict[str, Any]:
    from db import queries
    from neurotriage.core.result_json import study_entry, unanalysed_entry

    (study_id,) = queries.find_studies(connection, row["study_instance_uid"])[:1]
    known = queries.history(connection, study_id)
    if known.analysis is None:
        return unanalysed_entry(row, known.hops_s)
    return study_entry(known.analysis, known.objects, known.hops_s)


def _print_csv(columns: Sequence[str], rows: list[Mapping[str, Any]]) -> None:
    writer = csv.DictWriter(sys.stdout, columns)
    writer.writeheader()
    writer.writerows(rows)


def print_table(rows: list[Mapping[str, Any]]) -> None:
    """One line per study for a terminal."""
    from rich.box import SIMPLE
    from rich.table import Column, Table

    # Both whole, also where they need several lines: `neurotriage why` takes either.
    names = Column("study, accession", overflow="fold", min_width=_UID_WIDTH)
    headings = ("outcome", "triage", "tumour", "findings", "sent", "why")
    table = Table(names, *headings, box=SIMPLE, padding=(0, 1, 0, 0))
    for row in rows:
        probability = row["tumour_probability"]
        table.add_row(
            f"{row['study_instance_uid']} {row['accession_number'] or ''}",
            row["outcome"] or row["state"],
            row["triage"] or "",
            "" if probability is None else f"{100 * probability:.0f} %",
            str(row["findings"]),
            f"{row['deliveries_stored']}/{row['deliveries']}",
            "; ".join(filter(None, (row["reasons"], row["notes"] and f"note: {row['notes']}"))),
        )
    print_whole(table)
