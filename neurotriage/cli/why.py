"""``neurotriage why``: the whole history of one study."""

from collections.abc import Mapping
from itertools import groupby
from typing import Any

import typer

from neurotriage.cli import database


def register(app: typer.Typer) -> None:
    app.command()(why)


def why(
    study: str = typer.Argument(..., help="A StudyInstanceUID or an accession number."),
) -> None:
    """Tell what happened to a study.

    Each series, each hop with its time, and what was sent where.

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
        *([f"Notes      {row['notes']}"] if row["notes"] else []),
        "",
        "Series",
    ]
    told += [_verdict(verdict) for verdict in known.verdicts] or ["  not judged yet"]
    if known.analysis is not None and known.analysis.omissions:
        told += ["", "Not made", *(f"  {o.kind:8} {o.text}" for o in known.analysis.omissions)]
    told += ["", "Hops"]
    told += [
        f"  {event['at']:%Y-%m-%d %H:%M:%S.%f} {event['kind']}"
        + "".join(f" {key}={value}" for key, value in event["detail"].items())
        for event in known.events
    ]
    told += ["", "Sent"]
    sent = groupby(_delivery(delivery) for delivery in known.deliveries)
    told += [_times(line, len(list(same))) for line, same in sent] or ["  nothing"]
    if known.last_error:
        told += ["", "Last error", *(f"  {line}" for line in known.last_error.splitlines())]
    return [*told, ""]


def _times(line: str, count: int) -> str:
    return line if count == 1 else f"{line} ({count} objects)"


def _delivery(sent: Mapping[str, Any]) -> str:
    told = (
        f"  {sent['kind']:8} to {sent['destination']}: {sent['state']} after {sent['attempts']} tries; "
        f"{sent['last_status']}"
    )
    proofs = [
        f"{word} {sent[column]:%Y-%m-%d %H:%M:%S}"
        for word, column in (("committed", "committed_at"), ("found there", "found_at"))
        if sent[column] is not None
    ]
    told += "".join(f"; {proof}" for proof in proofs or filter(None, [sent["proof"]]))
    if sent["alarmed_at"] is not None:
        told += f"; ALARM since {sent['alarmed_at']:%Y-%m-%d %H:%M}"
    return told


def _verdict(verdict: Mapping[str, Any]) -> str:
    word = "taken  " if verdict["taken"] else "refused"
    name = verdict["description"] or "(no description)"
    told = f"  {word} {verdict['modality'] or '?':3} {name}: {verdict['reason']} [{verdict['code']}]"
    return f"{told} {verdict['evidence']}".rstrip()
