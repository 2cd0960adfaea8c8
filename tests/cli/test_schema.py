"""Services and commands tell a database of another version in a sentence, and end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url, text
from typer.testing import CliRunner

from db import migrate
from neurotriage.cli import app, database
from neurotriage.core.settings import CONFIG_VARIABLE, Settings
from neurotriage.embedded.process import free_port

SERVICES = (["listen"], ["work", "--role", "analysis"], ["work", "--role", "delivery"])
FIRST = migrate.revisions()[0]
EMPTY = "database: there are no tables of ours: run `neurotriage migrate`\n"


@pytest.fixture(autouse=True)
def _configured(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, os.devnull)
    monkeypatch.setenv("NEUROTRIAGE__DATABASE__URL", database_url)
    monkeypatch.setenv("NEUROTRIAGE__STORAGE__ROOT", str(tmp_path))
    monkeypatch.setenv("NEUROTRIAGE__LISTENER__PORT", str(free_port()))


def _program(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "neurotriage", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("words", SERVICES)
def test_a_service_ends_with_a_sentence_where_the_database_is_empty(
    words: list[str], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = make_url(database_url).set(database="postgres").render_as_string(hide_password=False)
    monkeypatch.setenv("NEUROTRIAGE__DATABASE__URL", empty)
    answer = _program(*words)
    assert (answer.returncode, answer.stderr) == (1, EMPTY)


@pytest.mark.parametrize("words", [*SERVICES[::2], ["migrate"], ["migrate", "--back-to", FIRST]])
def test_a_newer_database_is_told_in_a_sentence_and_left_alone(words: list[str], engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("update alembic_version set version_num = '9999'"))
    answer = _program(*words)
    assert answer.returncode == 1
    assert answer.stderr.startswith("database: the tables are those of a newer version (revision 9999, ")
    assert answer.stderr.count("\n") == 1
    with engine.connect() as connection:
        at = connection.execute(text("select version_num from alembic_version")).scalar_one()
    assert at == "9999"


@pytest.mark.parametrize("words", [*SERVICES, ["migrate"]])
def test_a_database_from_before_the_first_release_is_told_and_left_alone(
    words: list[str], engine: Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(text("update alembic_version set version_num = '0007'"))
    answer = _program(*words)
    assert answer.returncode == 1
    assert answer.stderr.startswith(
        "database: the tables are those of a version from before the first release "
    )
    assert answer.stderr.count("\n") == 1
    assert "start with an empty database" in answer.stderr


@pytest.mark.usefixtures("later_revision")
def test_an_older_database_is_told_with_the_command(engine: Engine) -> None:
    service = CliRunner().invoke(app, ["work", "--role", "delivery"])
    assert (service.exit_code, "run `neurotriage migrate`" in service.stderr) == (1, True)
    with engine.begin() as connection:  # which a later version needs
        connection.execute(text("alter table destination_leases drop column no_queries_until"))
    command = CliRunner().invoke(app, ["retry", "--all"])
    assert (command.exit_code, "those of an older version" in command.stderr) == (1, True)


def test_a_database_that_does_not_answer_is_waited_for(tmp_path: Path) -> None:
    url = f"postgresql+psycopg2://nobody@/nothing?host={tmp_path}"
    database.require_schema(Settings.model_validate({"database": {"url": url}}))


@pytest.mark.usefixtures("later_revision")
def test_a_check_changes_nothing(engine: Engine) -> None:
    problem = migrate.problem(engine)
    checked = CliRunner().invoke(app, ["migrate", "--check"])
    assert (checked.exit_code, checked.stderr) == (1, f"database: {problem}\n")
    assert migrate.problem(engine) == problem
    migrate.upgrade(engine)
    assert CliRunner().invoke(app, ["migrate", "--check"]).exit_code == 0


@pytest.mark.usefixtures("later_revision")
def test_a_migration_can_be_undone_by_command(engine: Engine) -> None:
    older, newest = migrate.revisions()[-2:]
    migrate.upgrade(engine)
    told = CliRunner().invoke(app, ["migrate", "--back-to", older])
    assert told.stdout == f"the database is at revision {older}\n"
    again = CliRunner().invoke(app, ["migrate"])
    assert again.stdout == f"the database is at revision {newest}\n"
    assert migrate.problem(engine) is None


@pytest.mark.parametrize("words", [["--back-to", "7"], ["--back-to", FIRST, "--reader", "somebody"]])
def test_a_step_back_that_makes_no_sense_is_wrong_usage(words: list[str], engine: Engine) -> None:
    assert CliRunner().invoke(app, ["migrate", *words]).exit_code == 2
    assert migrate.problem(engine) is None
