"""``neurotriage retry``: send again results that were refused or given up."""

import typer

from neurotriage.cli import database
from neurotriage.core.settings import load_settings


def register(app: typer.Typer) -> None:
    app.command()(retry)


def retry(
    study: str = typer.Argument("", help="Only this study, by StudyInstanceUID or accession number."),
    destination: str = typer.Option("", help="Only to this destination."),
    everything: bool = typer.Option(False, "--all", help="All studies, all destinations."),
) -> None:
    """Send results again that were refused or given up.

    Also those that a destination lost. Results that wait are tried at once.

    Example: neurotriage retry --destination pacs
    """
    from db import queries
    from db.delivery import deliveries

    if bool(study or destination) == everything:
        raise typer.BadParameter("give a study, --destination or both, or else --all")
    with database.engine() as engine, engine.begin() as connection:
        study_ids = queries.find_studies(connection, study) if study else None
        if study_ids == []:
            typer.echo(f"no study has the StudyInstanceUID or accession number {study}", err=True)
            raise typer.Exit(1)
        count = deliveries.retry(connection, study_ids=study_ids, destination=destination or None)
    if not count and destination and destination.partition("/")[0] not in _names():
        typer.echo(f"no [[destination]] has the name {destination}", err=True)
        raise typer.Exit(1)
    typer.echo(f"{count} results wait to be sent" if count else "nothing was refused, given up or lost")


def _names() -> set[str]:
    return {destination.name for destination in load_settings().destination}
