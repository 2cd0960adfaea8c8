"""``neurotriage migrate``: bring the database to this version's schema."""

import typer

from neurotriage.cli import database


def register(app: typer.Typer) -> None:
    app.command()(migrate)


def migrate(
    reader: str = typer.Option("", help="An existing database role that may then read the views."),
) -> None:
    """Bring the database to this version's schema. Safe to run again.

    Example: neurotriage migrate --reader pacs_admins
    """
    from db import migrate as migrations

    with database.engine() as engine:
        revision = migrations.upgrade(engine)
        typer.echo(f"the database is at revision {revision}")
        if reader:
            migrations.grant_reader(engine, reader)
            typer.echo(f"{reader} may read the views")
