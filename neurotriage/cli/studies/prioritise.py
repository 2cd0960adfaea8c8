"""``neurotriage prioritise``: what is analysed and sent first, by an admin's word."""

import typer

from neurotriage.cli import database
from neurotriage.core.priority import Priority


def register(app: typer.Typer) -> None:
    app.command()(prioritise)


def prioritise(
    study: str = typer.Argument(..., help="A StudyInstanceUID or an accession number."),
    routine: bool = typer.Option(False, "--routine", help="Serve it in its turn, not as urgent."),
    backlog: bool = typer.Option(False, "--backlog", help="Serve it when nothing else waits."),
) -> None:
    """Have a study analysed and its results sent before all others.

    It moves at once, also where it waits already; nothing that comes later changes its class.

    Example: neurotriage prioritise 1.2.826.0.1.3680043.8.498.1
    """
    from db import queries
    from db.studies import priority

    if routine and backlog:
        raise typer.BadParameter("give --routine or --backlog, not both")
    wanted = Priority.ROUTINE if routine else Priority.BACKLOG if backlog else Priority.URGENT
    with database.engine() as engine, engine.begin() as connection:
        study_ids = queries.find_studies(connection, study)
        if not study_ids:
            typer.echo(f"no study has the StudyInstanceUID or accession number {study}", err=True)
            raise typer.Exit(1)
        for study_id in study_ids:
            priority.prioritise(connection, study_id, wanted)
            known = queries.history(connection, study_id).row
            typer.echo(f"{known['study_instance_uid']}  is {wanted} now; state {known['state']}")
