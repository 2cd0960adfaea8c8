"""``neurotriage retry``: send again what was given up."""

import typer

from neurotriage.cli import database
from neurotriage.core.settings import load_settings


def register(app: typer.Typer) -> None:
    app.command()(retry)


def retry(
    study: str = typer.Argument("", help="Only of this StudyInstanceUID or accession number."),
    destination: str = typer.Option("", help="Only to this destination."),
    everything: bool = typer.Option(False, "--all", help="Of every study, to every destination."),
) -> None:
    """Send again what was refused or given up.

    Also what got lost there; and what waits is tried at once.

    Example: neurotriage retry --destination pacs
    """
    from db import deliveries, queries

    if bool(study or destination) == everything:
        raise typer.BadParameter("name a study, a --destination or both; or else --all")
    with database.engine() as engine, engine.begin() as connection:
        found = queries.find_studies(connection, study) if study else None
        if found == []:
            typer.echo(f"no study has the StudyInstanceUID or accession number {study}", err=True)
            raise typer.Exit(1)
        count = deliveries.retry(connection, study_ids=found, destination=destination or None)
    if not count and destination and destination.partition("/")[0] not in _names():
        typer.echo(f"no [[destination]] has the name {destination}", err=True)
        raise typer.Exit(1)
    typer.echo(f"{count} results wait to be sent" if count else "nothing was refused, given up or lost")


def _names() -> set[str]:
    return {known.name for known in load_settings().destination}
