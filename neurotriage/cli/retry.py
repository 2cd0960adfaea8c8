"""``neurotriage retry``: send again what was given up."""

import typer

from neurotriage.cli import database


def register(app: typer.Typer) -> None:
    app.command()(retry)


def retry(
    study: str = typer.Argument("", help="Only of this StudyInstanceUID or accession number."),
    destination: str = typer.Option("", help="Only to this destination."),
    everything: bool = typer.Option(False, "--all", help="Of every study, to every destination."),
) -> None:
    """Let results wait again that were refused, given up or lost there; what waits is tried at once.

    Example: neurotriage retry --destination pacs
    """
    from db import ledger, queries

    if bool(study or destination) == everything:
        raise typer.BadParameter("name a study, a --destination or both; or else --all")
    with database.engine() as engine, engine.begin() as connection:
        found = queries.find_studies(connection, study) if study else None
        if found == []:
            typer.echo(f"no study has the StudyInstanceUID or accession number {study}", err=True)
            raise typer.Exit(1)
        count = ledger.retry(connection, study_ids=found, destination=destination or None)
    typer.echo(f"{count} results wait to be sent" if count else "nothing was refused, given up or lost")
