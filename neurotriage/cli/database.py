"""The database as the commands that only read it need it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from neurotriage.core.settings import load_settings

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


@contextmanager
def engine() -> Iterator["Engine"]:
    """The configured database. What goes wrong there is told in a line, and the exit code is 1."""
    from sqlalchemy.exc import DBAPIError

    from db.engine import connect

    found = connect(load_settings().database.url)
    try:
        yield found
    except DBAPIError as error:
        typer.echo(f"database: {str(error.orig).strip().splitlines()[0]}", err=True)
        raise typer.Exit(1) from None
    finally:
        found.dispose()


@contextmanager
def connection() -> Iterator["Connection"]:
    """A connection to the configured database; errors as in ``engine``."""
    with engine() as found, found.connect() as connected:
        yield connected
