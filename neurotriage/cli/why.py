"""``neurotriage why``: the whole history of one study."""

from collections.abc import Mapping
from typing import Any

import typer

from neurotriage.cli import database


def register(app: typer.Typer) -> None:
    app.command()(why)


def why(
    study: str = typer.Argument(..., help="A StudyInstanceUID or an accession number."),
) -> None:
    """Tell what happened to a study: each series, each hop with its time, what was sent where.

    Example: neurotriage why 1.2.826.0.1.3680043.8.498.1
    """
    from db import queries

    with database.connection() as connection:
        found = queries.find_studies(connection, study)
        if not found:
            typer.echo(f"no study has the StudyInstanceUID or accession number {study}", err=True)
            raise typer.Exit(1)
        for study_id in found:
            for line in lines(queries.history(connection, study_id)):
                typer.echo(line)


def lines(known: Any) -> list[str]:
    """The history (``db.queries.StudyHistory``) as text."""
    row = known.row
    told = [
        f"Study      {row['study_instance_uid']}",
        f"Accession  {row['accession_number'] or '-'}    Patient ID {row['patient_id'] or '-'}",
        f"Outcome    {row['outcome'] or '-'} (triage {row['triage'] or '-'}), state {row['state']}, "
        f"revision {row['revision'] or '-'}, attempts {row['attempts'] or 0}",
        f"Reasons    {row['reasons'] or '-'}",
        "",
        "Series",
    ]
    told += [_verdict(verdict) for verdict in known.verdicts] or ["  not judged yet"]
    told += ["", "Hops"]
    told += [
        f"  {event['at']:%Y-%m-%d %H:%M:%S.%f} {event['kind']}"
        + "".join(f" {key}={value}" for key, value in event["detail"].items())
        for event in known.events
    ]
    told += ["", "Sent"]
    told += [
        f"  {d['kind']:8} to {d['destination']}: {d['state']} after {d['attempts']} tries; {d['last_status']}"
        for d in known.deliveries
    ] or ["  nothing"]
    if known.last_error:
        told += ["", "Last error", *(f"  {line}" for line in known.last_error.splitlines())]
    return [*told, ""]


def _verdict(verdict: Mapping[str, Any]) -> str:
    word = "taken  " if verdict["taken"] else "refused"
    name = verdict["description"] or "(no description)"
    told = f"  {word} {verdict['modality'] or '?':3} {name}: {verdict['reason']} [{verdict['code']}]"
    return f"{told} {verdict['evidence']}".rstrip()
