"""What is told of the database: schema, rights, clock, and which model answers."""

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, make_url, text

from db.studies import analyses
from neurotriage.core.priority import Priority
from neurotriage.core.settings import WorkerSettings
from neurotriage.doctor import State
from neurotriage.doctor.database import look_at_database
from tests.db.rows import analysis, claimed, put_into, ready_revision
from tests.doctor.looks import by_subject, settings
from worker.vision import read_registry


def test_a_database_of_this_version_is_well(database_url: str) -> None:
    found = by_subject(look_at_database(settings(database={"url": database_url})))
    assert {check.state for check in found.values()} == {State.OK}
    assert set(found) == {"connection", "clock", "schema", "rights", "reader", "waiting", "models"}


def test_what_waits_is_told_by_class_and_an_urgent_one_that_waits_for_long_is_a_warning(
    engine: Engine, database_url: str
) -> None:
    site = settings(database={"url": database_url})
    with engine.begin() as connection:
        ready_revision(connection, study="1.2.4")
        ready_revision(connection, study="1.2.3")
        put_into(connection, Priority.URGENT, study="1.2.3")
    found = by_subject(look_at_database(site))["waiting"]
    assert (found.state, found.said) == (
        State.OK, "1 urgent, 1 routine, 0 backlog wait to be analysed"
    )  # fmt: skip
    with engine.begin() as connection:
        connection.execute(text("update revisions set waiting_since = now() - interval '15 minutes'"))
    found = by_subject(look_at_database(site))["waiting"]
    assert found.state is State.WARNING
    assert found.said.endswith("an urgent one for 15 min")


def test_a_light_model_that_stands_in_is_a_warning_for_a_day(engine: Engine, database_url: str) -> None:
    light = read_registry(WorkerSettings().weights).rules.light["MR"].model
    site = settings(database={"url": database_url})
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection))
        answer = replace(analysis().predictions[0], model=light)
        today = replace(analysis(), predictions=(answer,), analysed_at=datetime.now(UTC))
        assert analyses.record_analysis(connection, held, today, today.analysed_at, [])
    found = by_subject(look_at_database(site))["models"]
    assert found.state is State.WARNING
    assert found.said == f"studies of the last day judged by {light} in place of the usual model: 1"
    with engine.begin() as connection:
        connection.execute(text("update analyses set analysed_at = analysed_at - interval '25 hours'"))
    assert by_subject(look_at_database(site))["models"].state is State.OK


def test_a_database_without_our_tables_fails(database_url: str) -> None:
    empty = make_url(database_url).set(database="postgres").render_as_string(hide_password=False)
    found = by_subject(look_at_database(settings(database={"url": empty})))
    assert found["schema"].state is State.FAILED
    assert "neurotriage migrate" in found["schema"].advice


@pytest.mark.parametrize(
    ("revision", "said", "advice"),
    [
        ("0007", "before the first release (revision 0007", "Start with an empty database"),
        ("9999", "a newer version (revision 9999", "nstall that version again"),
    ],
)
def test_a_schema_of_another_version_fails_and_says_which(
    engine: Engine, database_url: str, revision: str, said: str, advice: str
) -> None:
    with engine.begin() as connection:
        connection.execute(text("update alembic_version set version_num = :at"), {"at": revision})
    found = by_subject(look_at_database(settings(database={"url": database_url})))["schema"]
    assert found.state is State.FAILED
    assert said in found.said
    assert advice in found.advice


@pytest.mark.usefixtures("later_revision")
def test_an_older_schema_fails_with_the_command(database_url: str) -> None:
    schema = by_subject(look_at_database(settings(database={"url": database_url})))["schema"]
    assert (schema.state, "an older version" in schema.said) == (State.FAILED, True)
    assert "run `neurotriage migrate`" in schema.advice


def test_a_database_whose_clock_is_wrong_fails(engine: Engine, database_url: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("create schema wrong"))
        connection.execute(
            text(
                "create function wrong.clock_timestamp() returns timestamptz "
                "return pg_catalog.clock_timestamp() - interval '1 minute'"
            )
        )
        name = make_url(database_url).database
        connection.execute(text(f'alter database "{name}" set search_path = wrong, pg_catalog, public'))
    found = by_subject(look_at_database(settings(database={"url": database_url})))
    assert found["clock"].state is State.FAILED
    assert found["clock"].said == "60.0 s behind this host"


@pytest.fixture
def role(engine: Engine) -> Iterator[str]:
    name = f"doctor_{os.getpid()}"
    with engine.begin() as connection:
        connection.execute(text(f"create role {name} login"))
    yield name
    with engine.begin() as connection:
        connection.execute(text(f"drop owned by {name}"))
        connection.execute(text(f"drop role {name}"))


def test_a_reader_is_named_and_one_that_may_read_more_is_a_warning(
    engine: Engine, database_url: str, role: str
) -> None:
    site = settings(database={"url": database_url})
    with engine.begin() as connection:
        connection.execute(text(f"grant select on study_results to {role}"))
    found = by_subject(look_at_database(site))["reader"]
    assert (found.state, role in found.said) == (State.OK, True)
    with engine.begin() as connection:
        connection.execute(text(f"grant select on studies to {role}"))
    assert by_subject(look_at_database(site))["reader"].state is State.WARNING


def test_a_role_that_may_not_write_fails(engine: Engine, database_url: str, role: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(f"alter role {role} password 'pw'"))
        connection.execute(text(f"grant select on alembic_version, study_results to {role}"))
    url = make_url(database_url).set(username=role, password="pw").render_as_string(hide_password=False)
    found = by_subject(look_at_database(settings(database={"url": url})))
    assert found["rights"].state is State.FAILED


@pytest.mark.parametrize("url", ["postgresql+psycopg2://me:hunter2@127.0.0.1:1/n", "me:hunter2@nowhere"])
def test_a_database_that_cannot_be_reached_fails_and_its_password_stays_secret(url: str) -> None:
    (found,) = look_at_database(settings(database={"url": url}))
    assert found.state is State.FAILED
    assert "hunter2" not in repr(found)
