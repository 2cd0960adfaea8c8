"""Bring a database to this version's schema, or back to an older one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from neurotriage.core.errors import Unavailable

_MIGRATIONS: Final = Path(__file__).resolve().parent.parent / "migrations"
VIEWS: Final = (
    "study_results",
    "delivery_status",
    "quarantined_objects",
    "refused_presentation_contexts",
    "refused_associations",
    "storage_commitments",
    "analysis_queue",
    "study_texts",
)
# One migration at a time, also when several hosts start at once.
_MIGRATION_LOCK: Final = 0x6D696772


def upgrade(engine: Engine, revision: str = "head") -> str:
    """Migrate up; returns the revision the database is at. Safe to run again, and by several at once.

    One transaction: a migration that fails leaves the schema as it was. Raises ``Unavailable`` where the
    schema is that of a newer version, or from before the first release.
    """
    with engine.begin() as connection:
        return upgrade_within(connection, revision)


def upgrade_within(connection: Connection, revision: str = "head") -> str:
    """As ``upgrade``, in the transaction of the caller."""
    connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
    _require_known(revision_of(connection))
    command.upgrade(_config(connection), revision)
    return revision_of(connection) or ""


def downgrade(engine: Engine, revision: str) -> str:
    """Migrate down; ``base`` leaves an empty database. Returns the revision the database is at.

    Raises ``Unavailable`` where the database is at an older revision than that already, at one of a newer
    version, or at one from before the first release.
    """
    with engine.begin() as connection:
        return downgrade_within(connection, revision)


def downgrade_within(connection: Connection, revision: str) -> str:
    """As ``downgrade``, in the transaction of the caller."""
    connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
    at = revision_of(connection)
    _require_known(at)
    if revision != "base" and (at is None or _place(revision) > _place(at)):
        raise Unavailable(f"database: it is at revision {at or 'base'}, which is before {revision}")
    command.downgrade(_config(connection), revision)
    return revision_of(connection) or ""


@contextmanager
def kept_out(engine: Engine) -> Iterator[None]:
    """Let no migration begin while the block runs. Raises ``Unavailable`` where one runs."""
    with engine.begin() as connection:
        connection.execute(text("set local idle_in_transaction_session_timeout = 0"))
        question = text("select pg_try_advisory_xact_lock_shared(:key)")
        if not connection.execute(question, {"key": _MIGRATION_LOCK}).scalar_one():
            raise Unavailable("the database is being migrated: try again when that has ended")
        yield


def revisions() -> list[str]:
    """Every revision of the schema that this version knows, oldest first."""
    return [script.revision for script in ScriptDirectory(str(_MIGRATIONS)).walk_revisions()][::-1]


def problem(engine: Engine) -> str | None:
    """Why the database cannot be used with this version, as a sentence with what to do; None: it can."""
    with engine.connect() as connection:
        at = revision_of(connection)
    newest = revisions()[-1]
    if at == newest:
        return None
    if at is None:
        return "there are no tables of ours: run `neurotriage migrate`"
    if at in revisions():
        return (
            f"the tables are those of an older version (revision {at}, this version needs {newest}): "
            "stop every service, run `neurotriage migrate`"
        )
    return _unknown(at)


def revision_of(connection: Connection) -> str | None:
    """The revision that the database is at; None: it has no tables of ours."""
    return MigrationContext.configure(connection).get_current_revision()


def _place(revision: str) -> int:
    return revisions().index(revision)


def _require_known(at: str | None) -> None:
    if at is not None and at not in revisions():
        raise Unavailable(f"database: {_unknown(at)}")


def _unknown(at: str) -> str:
    """Whose tables these are, and what to do. Revisions are numbered upwards, in four digits."""
    if at < revisions()[0]:
        return (
            f"the tables are those of a version from before the first release (revision {at}), which cannot "
            "be migrated: start with an empty database (under `serve`, another folder), or install that "
            "version again"
        )
    return (
        f"the tables are those of a newer version (revision {at}, this version knows up to "
        f"{revisions()[-1]}): install that version again, or restore the backup from before the upgrade"
    )


def grant_reader(engine: Engine, role: str) -> None:
    """Let an existing role read the views, and nothing else. Raises the database's error where it cannot."""
    with engine.begin() as connection:
        quoted = connection.dialect.identifier_preparer.quote(role)
        connection.execute(text(f"grant select on {', '.join(VIEWS)} to {quoted}"))


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
