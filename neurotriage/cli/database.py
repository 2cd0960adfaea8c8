"""The database for commands: connections, and errors as sentences."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import typer

from neurotriage.cli.serve_discovery import names_servers, runs, serve_folder, settings_beside_serve
from neurotriage.core.settings import Settings, config_file, environment_of

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.exc import DBAPIError

_NO_TABLES: Final = ("42P01", "42703")  # undefined_table, undefined_column
_CHECK_LIMIT_S: Final = 60.0


@contextmanager
def engine() -> Iterator["Engine"]:
    """The configured database, or that of ``serve``. Its errors end with a sentence and exit code 1."""
    from sqlalchemy.exc import DBAPIError

    from db.engine import connect

    settings = settings_beside_serve()
    opened = connect(settings.database.url)
    try:
        yield opened
    except DBAPIError as error:
        typer.echo(f"database: {_explained(opened, settings, error)}", err=True)
        raise typer.Exit(1) from None
    finally:
        opened.dispose()


def _explained(engine: "Engine", settings: Settings, error: "DBAPIError") -> str:
    """The error and the remedy in a sentence."""
    from db import migrate

    if getattr(error.orig, "pgcode", None) in _NO_TABLES:
        problem = migrate.problem(engine)
        if problem is not None:
            return problem
    message = str(error.orig).strip().splitlines()[0]
    return "; ".join(filter(None, [message, _advice(settings, error)]))


def remedy(engine: "Engine", settings: Settings) -> str:
    """What to do where the database could not be asked: schema, server or address; empty if all are well."""
    from sqlalchemy.exc import DBAPIError

    from db import migrate

    try:
        problem = migrate.problem(engine)
    except DBAPIError as error:
        problem = _explained(engine, settings, error)
    return f"database: {problem}" if problem else ""


def _advice(settings: Settings, error: "DBAPIError") -> str:
    """The remedy; empty if none is known."""
    if error.statement is not None:  # the server was reached
        return ""
    folder = serve_folder(settings)
    serving = runs(folder)
    if names_servers(settings):
        own = f"; the `neurotriage serve` in {folder} has a database of its own: remove the url to use that"
        return f"see [database] url in the configuration{own if serving else ''}"
    if serving:
        return f"`neurotriage serve` runs in {folder}, and its Postgres does not answer: see its log there"
    return f"no `neurotriage serve` runs in {folder}, and {config_file()} names no [database] url"


def require_schema(settings: Settings) -> None:
    """End with a sentence if the tables are not those of this version.

    A database that does not answer ends nothing: services wait for it.
    """
    import structlog
    from sqlalchemy.exc import DBAPIError

    from db import migrate
    from db.engine import connect

    engine = connect(settings.database.url)
    try:
        problem = migrate.problem(engine)
    except DBAPIError as error:
        log = structlog.get_logger()
        log.warning("database_unavailable", error=str(error.orig).strip().splitlines()[0])
        return
    finally:
        engine.dispose()
    if problem is not None:
        typer.echo(f"database: {problem}", err=True)
        raise typer.Exit(1)


def require_schema_apart(settings: Settings) -> None:
    """As ``require_schema``, by another process: a listener never needs the 30 MB that the check imports."""
    import subprocess  # takes as long as a third of --help

    words = [sys.executable, "-m", "neurotriage", "migrate", "--check"]
    environment = {**os.environ, **environment_of(settings)}
    try:
        checked = subprocess.run(
            words, env=environment, stderr=subprocess.PIPE, text=True, check=False, timeout=_CHECK_LIMIT_S
        )
    except subprocess.TimeoutExpired:
        typer.echo(f"the database was not looked at within {_CHECK_LIMIT_S:g} s", err=True)
        raise typer.Exit(1) from None
    typer.echo(checked.stderr, err=True, nl=False)
    if checked.returncode:
        raise typer.Exit(checked.returncode)


@contextmanager
def connection() -> Iterator["Connection"]:
    """A connection to the configured database; errors as in ``engine``."""
    with engine() as opened, opened.connect() as connected:
        yield connected
