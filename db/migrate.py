"""Bring a database to this version's schema."""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

_MIGRATIONS: Final = Path(__file__).resolve().parent.parent / "migrations"
_VIEWS: Final = ("study_results",)
# One migration at a time, also when several hosts start at once.
_MIGRATION_LOCK: Final = 0x6D696772


def upgrade(engine: Engine, revision: str = "head") -> str:
    """Migrate up; returns the revision the database is at. Safe to run again, and by several at once."""
    with engine.begin() as connection:
        connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        command.upgrade(_config(connection), revision)
        return MigrationContext.configure(connection).get_current_revision() or ""


def downgrade(engine: Engine, revision: str) -> None:
    """Migrate down; ``base`` leaves an empty database."""
    with engine.begin() as connection:
        command.downgrade(_config(connection), revision)


def is_current(engine: Engine) -> bool:
    """True where the database has this version's schema."""
    with engine.connect() as connection:
        at = MigrationContext.configure(connection).get_current_revision()
    return at == ScriptDirectory(str(_MIGRATIONS)).get_current_head()


def grant_reader(engine: Engine, role: str) -> None:
    """Let an existing role read the views, and nothing else. Raises the database's error where it cannot."""
    with engine.begin() as connection:
        quoted = connection.dialect.identifier_preparer.quote(role)
        connection.execute(text(f"grant select on {', '.join(_VIEWS)} to {quoted}"))


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
