"""The schema comes from the migrations, and goes again."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import ProgrammingError

from db import migrate, queries
from db.tables import Base
from tests.db.rows import analysed, claimed, ready_revision, receive, written


def test_the_migrations_make_exactly_the_tables_that_the_code_knows(engine: Engine) -> None:
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


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
    assert not migrate.is_current(engine)
    assert set(inspect(engine).get_table_names()) <= {"alembic_version"}
    migrate.upgrade(engine)
    assert migrate.is_current(engine)


def test_a_reader_may_read_the_views_and_nothing_else(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("drop role if exists reader"))
        connection.execute(text("create role reader"))
    migrate.grant_reader(engine, "reader")
    with engine.begin() as connection:
        connection.execute(text("set local role reader"))
        connection.execute(text("select * from study_results")).all()
        with pytest.raises(ProgrammingError, match="permission denied"):
            connection.execute(text("select * from studies"))


def test_a_reader_keeps_the_views_over_a_step_down_and_up(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("drop role if exists clerk"))
        connection.execute(text("create role clerk"))
    migrate.grant_reader(engine, "clerk")
    for revision in ("0003", "0002", "0001", "head"):
        (migrate.upgrade if revision == "head" else migrate.downgrade)(engine, revision)
        with engine.begin() as connection:
            connection.execute(text("set local role clerk"))
            connection.execute(text("select * from study_results")).all()


def test_the_view_has_one_row_per_study_with_its_outcome_and_deliveries(engine: Engine) -> None:
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection))
        analysed(connection, held, written(1, "pacs"), written(2, "pacs"))
        receive(connection, 1, study="1.2.4")
        rows = {row["study_instance_uid"]: row for row in queries.study_results(connection, limit=10)}
    assert rows["1.2.3"]["outcome"] == "present"
    assert rows["1.2.3"]["deliveries_waiting"] == 2
    assert rows["1.2.3"]["tumour_probability"] == pytest.approx(0.9)
    assert rows["1.2.4"]["outcome"] is None
    assert rows["1.2.4"]["state"] == "open"


def test_the_history_of_a_study_tells_series_hops_and_deliveries(engine: Engine) -> None:
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection))
        analysed(connection, held, written(1, "pacs"))
        known = queries.history(connection, held.study_id)
    assert known.analysis is not None
    assert [verdict["code"] for verdict in known.verdicts] == ["eligible"]
    assert [event["kind"] for event in known.events] == [
        "received",
        "quiet",
        "ready",
        "analysing",
        "analysed",
    ]
    assert [(item.state, item.destination) for item in known.objects] == [("waiting", "pacs")]
