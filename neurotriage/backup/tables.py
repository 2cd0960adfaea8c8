"""The rows of every table, out of a database and into an empty one, by Postgres' own COPY."""

import gzip
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Connection, Engine, inspect, select, text

from db import migrate
from db.tables import AnalysisRow, Base, Installation, Instance, Quarantined, ResultObjectRow
from neurotriage.backup.damage import BackupDamaged
from neurotriage.backup.manifest import TableCopy
from neurotriage.backup.objects import Objects, Writing
from neurotriage.backup.progress import Tell
from neurotriage.core.errors import Unavailable
from neurotriage.core.storage import Storage

# The schema of a database is its revision; whoever we are comes from the backup.
_REVISION: Final = "alembic_version"
_IDENTITY: Final = "installation"
_ROWS_AT_ONCE: Final = 10_000
_FORM: Final = "(encoding 'UTF8')"  # whatever the encoding of client and database
_COMPRESSION: Final = 1  # the snapshot holds up vacuum: time counts for more than room
_NUMBERED: Final = """
    select c.relname, a.attname from pg_attribute a join pg_class c on c.oid = a.attrelid
    join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = current_schema() and c.relkind = 'r' and a.attidentity <> ''
    and not a.attisdropped
"""


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """A read-only transaction that sees the database as it was at one moment."""
    with engine.connect() as opened:
        connection = opened.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        _without_limits(connection)
        yield connection


def installation_of(connection: Connection) -> str:
    """The identity of the installation whose database it is."""
    return connection.execute(select(Installation.uid)).scalar_one()


def copy_out(connection: Connection, objects: Objects, tell: Tell) -> Iterator[TableCopy]:
    """Copy every table of ours; one after those that it refers to."""
    inspector = inspect(connection)
    # Not those of others, which a restore would not find.
    names = [name for name in _tables(connection) if name in Base.metadata.tables]
    for number, name in enumerate(names, 1):
        columns = tuple(column["name"] for column in inspector.get_columns(name))
        yield _copy_table(connection, objects, name, columns)
        tell("tables", number, len(names))


def files_of_rows(connection: Connection, storage: Storage) -> Iterator[str]:
    """The paths below the storage root of all files that rows name."""
    made = (
        (select(Instance.digest).distinct(), storage.stored_instance),
        (select(AnalysisRow.revision_id), storage.evidence),
        (select(ResultObjectRow.path).distinct(), storage.root.joinpath),
        (select(Quarantined.path).where(Quarantined.path != ""), storage.root.joinpath),
    )
    for question, place in made:
        rows = connection.execute(question.execution_options(yield_per=_ROWS_AT_ONCE)).scalars()
        for value in rows:
            yield str(place(value).relative_to(storage.root))


def require_empty(engine: Engine) -> None:
    """Raise ``Unavailable`` where a table holds a row, but for the name of a new installation."""
    with engine.connect() as connection:
        _require_no_rows(connection)


@contextmanager
def copied_in(
    engine: Engine, objects: Objects, revision: str, tables: Sequence[TableCopy], tell: Tell
) -> Iterator[None]:
    """Make the schema of ``revision`` in an empty database, copy the tables in and migrate them up.

    All rows are there when the block has ended, or none. Raises ``Unavailable`` where the database is not
    empty, ``BackupDamaged`` where a table has another number of rows than it should.
    """
    with engine.begin() as connection:
        _without_limits(connection)
        names = ", ".join(_quoted(connection, name) for name in _tables(connection))
        if names:
            connection.execute(text(f"lock table {names} in access exclusive mode"))
        _require_no_rows(connection)  # a service that runs may have written since
        migrate.downgrade_within(connection, "base")  # it may be that of another revision
        migrate.upgrade_within(connection, revision)
        connection.execute(text(f"delete from {_IDENTITY}"))  # noqa: S608
        for number, table in enumerate(tables, 1):
            _fill_table(connection, objects, table)
            tell("tables", number, len(tables))
        _number_on(connection)
        migrate.upgrade_within(connection)
        yield


def _copy_table(connection: Connection, objects: Objects, name: str, columns: tuple[str, ...]) -> TableCopy:
    rows = 0

    def fill(target: Writing) -> None:
        nonlocal rows
        with gzip.GzipFile(fileobj=target, mode="wb", compresslevel=_COMPRESSION, mtime=0) as packed:
            rows = _copy(connection, f"copy {_named(connection, name, columns)} to stdout {_FORM}", packed)

    content = objects.write(fill)
    return TableCopy(name=name, columns=columns, rows=rows, content=content)


def _fill_table(connection: Connection, objects: Objects, table: TableCopy) -> None:
    named = _named(connection, table.name, table.columns)
    with objects.opened(table.content) as file, gzip.GzipFile(fileobj=file, mode="rb") as rows:
        copied = _copy(connection, f"copy {named} from stdin {_FORM}", rows)
    if copied != table.rows:
        raise BackupDamaged(f"the table {table.name} has {copied} rows instead of {table.rows}")


def _copy(connection: Connection, statement: str, file: gzip.GzipFile) -> int:
    with connection.connection.cursor() as cursor:  # type: ignore[attr-defined]
        cursor.copy_expert(statement, file)
        return int(cursor.rowcount)


def _tables(connection: Connection) -> list[str]:
    """Every table, one after those that it refers to."""
    found = inspect(connection).get_sorted_table_and_fkc_names()
    return [name for name, _ in found if name is not None and name != _REVISION]


def _require_no_rows(connection: Connection) -> None:
    for name in _tables(connection):
        question = text(f"select exists (select from {_quoted(connection, name)})")  # noqa: S608
        if name != _IDENTITY and connection.execute(question).scalar_one():
            raise Unavailable(f"the database is not empty (table {name}): restore into a new one")


def _number_on(connection: Connection) -> None:
    """Have Postgres number new rows after those that are there."""
    for table, column in connection.execute(text(_NUMBERED)).all():
        name, key = _quoted(connection, table), _quoted(connection, column)
        newest = f"select coalesce(max({key}), 0) from {name}"  # noqa: S608
        moved = text(f"select setval(pg_get_serial_sequence(:table, :column), ({newest}) + 1, false)")
        connection.execute(moved, {"table": name, "column": column})


def _without_limits(connection: Connection) -> None:
    """A large table takes longer than any statement of a service may."""
    for setting in ("statement_timeout", "idle_in_transaction_session_timeout"):
        connection.execute(text(f"set local {setting} = 0"))


def _named(connection: Connection, table: str, columns: Iterable[str]) -> str:
    return f"{_quoted(connection, table)} ({', '.join(_quoted(connection, name) for name in columns)})"


def _quoted(connection: Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote(name)
