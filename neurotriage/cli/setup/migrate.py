"""``neurotriage migrate``: bring the database to this version's schema."""

import typer

from neurotriage.cli import database
from neurotriage.cli.serve_discovery import settings_beside_serve


def register(app: typer.Typer) -> None:
    app.command()(migrate)


def migrate(
    reader: str = typer.Option("", help="Let this existing database role read the views."),
    back_to: str = typer.Option(
        "", help="Go back to this revision, for an older version; data of later revisions is lost."
    ),
    check: bool = typer.Option(
        False, "--check", help="Change nothing; exit code 1 if the tables are those of another version."
    ),
) -> None:
    """Bring the database to this version's schema. Safe to run again.

    Example: neurotriage migrate --reader pacs_admins
    """
    from db import migrate as migrations

    if check:
        database.require_schema(settings_beside_serve())
        return
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
