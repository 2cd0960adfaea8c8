"""``neurotriage complete``: take a study as complete now."""

import typer

from neurotriage.cli import database


def register(app: typer.Typer) -> None:
    app.command()(complete)


def complete(
    study: str = typer.Argument(..., help="A StudyInstanceUID or an accession number."),
) -> None:
    """Analyse a study now, with the images that came.

    Images that come later make a further revision.

    Example: neurotriage complete 1.2.826.0.1.3680043.8.498.1
    """
    from db import queries
    from db.studies.assembly import complete as complete_study

    with database.engine() as engine:
        with engine.connect() as connection:
            study_ids = queries.find_studies(connection, study)
        if not study_ids:
            typer.echo(f"no study has the StudyInstanceUID or accession number {study}", err=True)
            raise typer.Exit(1)
        made = []
        for study_id in study_ids:
            with engine.begin() as connection:
                made.append(complete_study(connection, study_id))
    for one in made:
        fate = one.skipped or f"is analysed as revision {one.number}"
        typer.echo(f"{one.study_instance_uid}  {fate}")
    if not any(one.number for one in made):
        raise typer.Exit(1)
