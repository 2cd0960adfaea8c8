"""The schema comes from the migrations, and goes again."""

import json
import re
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest
from sqlalchemy import Boolean, Connection, DateTime, Engine, Text, inspect, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine.interfaces import ReflectedColumn

from db import migrate, queries
from db.tables import Base
from neurotriage.core.errors import Unavailable
from tests.conftest import ROOT
from tests.db.rows import receive

_SCHEMA = {
    "columns": """
        select c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
            pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum),
            obj_description(c.oid, 'pg_class')
        from pg_attribute a join pg_class c on c.oid = a.attrelid
        left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
        where c.relnamespace = cast(:schema as regnamespace) and c.relkind = 'r'
            and c.relname <> 'alembic_version' and a.attnum > 0 and not a.attisdropped
    """,
    "constraints": """
        select conname, pg_get_constraintdef(oid) from pg_constraint
        where connamespace = cast(:schema as regnamespace) and conname not like 'alembic_version%'
    """,
    "indexes": """
        select indexname, indexdef from pg_indexes
        where schemaname = :schema and tablename <> 'alembic_version'
    """,
}


def _schema(connection: Connection, schema: str, question: str) -> set[tuple[object, ...]]:
    rows = connection.execute(text(_SCHEMA[question]), {"schema": schema})
    return {
        tuple(value.replace(f"{schema}.", "") if isinstance(value, str) else value for value in row)
        for row in rows
    }


@pytest.mark.parametrize("question", _SCHEMA)
def test_the_migrations_make_exactly_the_tables_that_the_code_knows(engine: Engine, question: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("create schema from_code"))
        translated = connection.execution_options(schema_translate_map={None: "from_code"})
        Base.metadata.create_all(translated)
        migrated, known = (_schema(connection, schema, question) for schema in ("public", "from_code"))
    assert len(migrated) > 10
    assert sorted(migrated ^ known, key=str) == []


def test_every_table_and_the_view_say_what_they_are(engine: Engine) -> None:
    inspector = inspect(engine)
    for table in Base.metadata.tables:
        assert inspector.get_table_comment(table)["text"], table
    assert inspector.get_table_comment("study_results")["text"]


def test_every_column_of_every_table_and_of_the_view_says_what_it_holds(engine: Engine) -> None:
    silent = text(
        "select c.relname, a.attname from pg_attribute a join pg_class c on c.oid = a.attrelid "
        "where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'v') "
        "and a.attnum > 0 and not a.attisdropped and col_description(c.oid, a.attnum) is null"
    )
    with engine.connect() as connection:
        assert connection.execute(silent).all() == []


def test_migrations_can_be_undone_and_done_again(engine: Engine) -> None:
    migrate.downgrade(engine, "base")
    assert "run `neurotriage migrate`" in (migrate.problem(engine) or "")
    assert set(inspect(engine).get_table_names()) <= {"alembic_version"}
    migrate.upgrade(engine)
    assert migrate.problem(engine) is None


def test_an_older_schema_is_named_and_migrated_up_and_down_again(engine: Engine, later_revision: str) -> None:
    older, newest = migrate.revisions()[-2:]
    assert newest == later_revision
    assert f"revision {older}, this version needs {newest}" in (migrate.problem(engine) or "")
    with pytest.raises(Unavailable, match=f"at revision {older}, which is before {newest}"):
        migrate.downgrade(engine, newest)
    with engine.begin() as connection:
        receive(connection, 1)
    assert migrate.upgrade(engine) == newest
    assert migrate.problem(engine) is None
    assert migrate.downgrade(engine, older) == older
    with engine.connect() as connection:
        assert queries.find_studies(connection, "1.2.3") != []  # rows stay over both steps


def _value(column: ReflectedColumn, row: int) -> object:
    """Something that a column takes; of a reference, the row of that number."""
    kind = column["type"]
    if isinstance(kind, Boolean):
        return bool(row % 2)
    if isinstance(kind, JSONB):
        value = {"code": f"code {row}", "text": f"text {row}"}
        return json.dumps([value] if column["name"] == "reasons" else value)
    if isinstance(kind, DateTime):
        return datetime(2026, 1, row, tzinfo=UTC)
    return f"text {row}" if isinstance(kind, Text) else row


def _fill(connection: Connection, table: str, rows: int) -> None:
    """Insert rows in which every column has a value."""
    columns = inspect(connection).get_columns(table)
    filled = [column for column in columns if not column.get("identity")]
    names = ", ".join(f'"{column["name"]}"' for column in filled)
    values = ", ".join(f":{column['name']}" for column in filled)
    for row in range(1, rows + 1):
        given = {column["name"]: _value(column, row) for column in filled}
        connection.execute(text(f"insert into {table} ({names}) values ({values})"), given)  # noqa: S608


def _rows(connection: Connection, table: str, columns: list[str]) -> list[tuple[object, ...]]:
    names = ", ".join(f'"{name}"' for name in columns)
    rows = connection.execute(text(f"select {names} from {table}"))  # noqa: S608
    return sorted((tuple(row) for row in rows), key=str)


def test_an_upgrade_from_the_first_release_keeps_every_row_and_value(engine: Engine) -> None:
    first, newest = migrate.revisions()[0], migrate.revisions()[-1]
    migrate.downgrade(engine, first)
    with engine.begin() as connection:
        inspector = inspect(connection)
        found = inspector.get_sorted_table_and_fkc_names()
        tables = [name for name, _ in found if name not in (None, "alembic_version", "installation")]
        before = {str(name): {c["name"] for c in inspector.get_columns(str(name))} for name in tables}
        for name in before:
            _fill(connection, name, 3)
        before["installation"] = {"uid"}
        rows = {name: _rows(connection, name, sorted(columns)) for name, columns in before.items()}
    assert (len(rows), {len(found) for found in rows.values()}) == (17, {1, 3})
    assert migrate.upgrade(engine) == newest
    with engine.connect() as connection:
        inspector = inspect(connection)
        for name, columns in before.items():
            kept = {column["name"] for column in inspector.get_columns(name)} & columns
            places = [sorted(columns).index(column) for column in sorted(kept)]
            was = sorted((tuple(row[place] for place in places) for row in rows[name]), key=str)
            assert _rows(connection, name, sorted(kept)) == was, name
            gone = columns - kept
            assert gone == ({"conflict"} if name == "studies" else set()), name
        moved = _rows(connection, "revisions", ["conflict"])
        assert moved == [("text 1",), ("text 2",), ("text 3",)]  # from the study, in 0015
        for view in migrate.VIEWS:
            connection.execute(text(f"select * from {view}")).all()  # noqa: S608


def _stand_at(engine: Engine, revision: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("update alembic_version set version_num = :at"), {"at": revision})


def _refused(engine: Engine, sentence: str) -> None:
    """Neither move touches a schema that this version does not know."""
    assert re.search(sentence, migrate.problem(engine) or "")
    for move in (migrate.upgrade, migrate.downgrade):
        with pytest.raises(Unavailable, match=f"^database: .*{sentence}"):
            move(engine, migrate.revisions()[0])


def test_a_newer_schema_is_left_alone_and_says_so(engine: Engine) -> None:
    _stand_at(engine, "9999")
    _refused(engine, r"a newer version \(revision 9999, .*install that version again")


@pytest.mark.parametrize("revision", [f"000{number}" for number in range(1, 8)])
def test_a_schema_from_before_the_first_release_does_not_pass_as_that_of_this_version(
    engine: Engine, revision: str
) -> None:
    _stand_at(engine, revision)
    _refused(engine, rf"before the first release \(revision {revision}\).*start with an empty database")


def _frozen() -> dict[str, str]:
    """SHA-256 by file name."""
    lines = (Path(__file__).parent / "frozen_revisions.txt").read_text().splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}


@pytest.mark.unit
def test_a_revision_that_databases_have_run_is_never_edited() -> None:
    files = sorted((ROOT / "migrations" / "versions").glob("[0-9]*.py"))
    digests = {file.name: sha256(file.read_bytes()).hexdigest() for file in files}
    frozen = _frozen()
    assert digests.keys() >= frozen.keys(), "a revision is never removed: databases stand at it"
    edited = [name for name, digest in frozen.items() if digests[name] != digest]
    assert not edited, f"{edited}: databases have run it as it was; write a new revision instead"
    new = digests.keys() - frozen.keys()
    assert not new, f"add to tests/db/frozen_revisions.txt: {[f'{digests[name]}  {name}' for name in new]}"
