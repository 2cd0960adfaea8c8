"""``neurotriage migrate``: bring the database to this version's schema."""

import typer

from neurotriage.cli import database


def register(app: typer.Typer) -> None:
    app.command()(migrate)


def migrate(
    reader: str = typer.Option("", help="Let this existing database role read the views."),
    back_to: str = typer.Option(
        "", help="Go back to this revision, for an older version; data of later revisions is lost."
    ),
) -> None:
    """Bring the database to this version's schema. Safe to run again.

    Example: neurotriage migrate --reader pacs_admins
    """
    from db import migrate as migrations

    if reader and back_to:
        raise typer.BadParameter("--reader cannot be combined with --back-to")
    known = migrations.revisions()
    if back_to and back_to not in known:
        raise typer.BadParameter(f"there is no revision {back_to}; the revisions are {', '.join(known)}")
    with database.engine() as engine:
        revision = migrations.downgrade(engine, back_to) if back_to else migrations.upgrade(engine)
        typer.echo(f"the database is at revision {revision}")
        if reader:
            migrations.grant_reader(engine, reader)
            typer.echo(f"{reader} may read the views")
