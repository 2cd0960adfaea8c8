"""``neurotriage release`` and ``cancel``: a person decides about results that are held, or about a study."""

from typing import TYPE_CHECKING

import typer

from neurotriage.cli import database
from neurotriage.cli.asked import ask, checked_reason, made_by
from neurotriage.core.settings import load_settings

if TYPE_CHECKING:
    from sqlalchemy import Connection


def register(app: typer.Typer) -> None:
    app.command()(release)
    app.command()(cancel)


def release(
    study: str = typer.Argument("", help="Only this study, by StudyInstanceUID or accession number."),
    destination: str = typer.Option("", help="Only to this destination."),
    everything: bool = typer.Option(False, "--all", help="All that is held, of all studies."),
) -> None:
    """Send results that are held.

    Held is what is made for a [[destination]] with hold = true.

    Example: neurotriage release 1.2.826.0.1.3680043.8.498.1
    """
    from db.delivery.release import release as let_go

    if bool(study or destination) == everything:
        raise typer.BadParameter("give a study, --destination or both, or else --all")
    known = [item.name for item in load_settings().destination]
    if destination and destination not in known:
        raise typer.BadParameter(f"no [[destination]] has the name {destination}; known: {', '.join(known)}")
    with database.engine() as engine, engine.begin() as connection:
        study_ids = _found(connection, study) if study else None
        count = let_go(connection, study_ids=study_ids, destination=destination or None, made_by=made_by())
    typer.echo(f"{count} results wait to be sent" if count else "nothing is held")


def cancel(
    study: str = typer.Argument(..., help="A StudyInstanceUID or an accession number."),
    reason: str = typer.Option("", help="Why, for the record."),
    yes: bool = typer.Option(False, "--yes", help="Do not ask."),
) -> None:
    """Do not analyse a study that waits, nor send its results.

    What was sent stays where it is (`recall` and `reject` take it back). Further images make a study
    that is analysed, and so do those of a study that is not complete yet; `reprocess` analyses the study
    after all, `retry STUDY` sends its results.

    Example: neurotriage cancel 1.2.826.0.1.3680043.8.498.1 --reason "phantom"
    """
    from db.studies.cancel import cancel as end
    from db.studies.cancel import what_follows

    why = checked_reason(reason)
    with database.engine() as engine:
        with engine.connect() as connection:
            study_ids = _found(connection, study)
        ask(f"Cancel what waits of {_studies(len(study_ids))}?", yes=yes)
        for study_id in study_ids:
            with engine.begin() as connection:
                revisions, deliveries = end(connection, study_id, made_by=made_by(), reason=why)
                follows = what_follows(connection, study_id)
            typer.echo(f"revisions cancelled: {revisions}; results that are not sent: {deliveries}")
            if follows:
                typer.echo(follows, err=True)


def _found(connection: "Connection", study: str) -> list[int]:
    from db import queries

    study_ids = queries.find_studies(connection, study)
    if not study_ids:
        typer.echo(f"no study has the StudyInstanceUID or accession number {study}", err=True)
        raise typer.Exit(1)
    return study_ids


def _studies(count: int) -> str:
    return "this study" if count == 1 else f"these {count} studies"
