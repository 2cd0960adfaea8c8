"""``status`` tells how the installation stands, whole at any width, and what it could not ask."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from sqlalchemy import Engine, text
from typer.testing import CliRunner, Result

from bench.status import fill
from db import pauses
from neurotriage.cli import app
from neurotriage.cli.operations.status_tables import shown
from neurotriage.core.alarm_code import AlarmCode
from neurotriage.core.settings import CONFIG_VARIABLE
from neurotriage.operations import document, make_snapshot
from neurotriage.operations.facts import Facts
from tests.operations.made import EMPTY, SETTINGS, WELL

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _configured(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, os.devnull)
    monkeypatch.setenv("NEUROTRIAGE__DATABASE__URL", database_url)
    monkeypatch.setenv("NEUROTRIAGE__STORAGE__ROOT", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "120")


def _say(*words: str, exit_code: int = 0) -> Result:
    answer = CliRunner().invoke(app, ("status", *words))
    assert answer.exit_code == exit_code, answer.output
    return answer


def test_an_empty_installation_is_told_with_the_roles_that_do_not_run() -> None:
    said = _say().stdout
    assert "nothing to do" in said
    assert "no process of the role listen runs" in said
    assert "no process of the role analysis runs" in said
    assert "none is configured" in said


def test_a_busy_installation_is_told_in_every_section(engine: Engine) -> None:
    with engine.begin() as connection:
        fill(connection, studies=2000, instances=3)
    told = json.loads(_say("--json").stdout)
    assert {item["priority"]: item["waiting"] for item in told["queue"]} == {
        "urgent": 50,
        "routine": 950,
        "backlog": 0,
    }
    (pacs,) = told["destinations"]
    assert (pacs["objects_waiting"], pacs["last_answer"]) == (2400, "the destination does not answer")
    assert told["backlog"]["why"] == "no analysis worker is alive"
    assert told["missing"] == {}
    assert {alarm["code"] for alarm in told["alarms"]} >= {"delivery_waits", "role_absent"}
    assert "the destination does not answer" in _say().stdout


def test_what_rests_is_told(engine: Engine) -> None:
    assert "Paused" not in _say().stdout
    with engine.begin() as connection:
        pauses.pause(connection, "analysis", made_by="command by test", reason="maintenance", for_s=None)
    said = _say().stdout
    assert "analysis since" in said
    assert "until somebody resumes it (command by test: maintenance)" in said


def test_without_postgres_it_says_so_tells_the_disk_and_ends_with_1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NEUROTRIAGE__DATABASE__URL", "postgresql://neurotriage@127.0.0.1:1/neurotriage")
    said = _say(exit_code=1)
    assert "not known: Postgres does not answer" in said.stdout
    assert re.search(r"\d GB of .* free", said.stdout)
    assert "Connection refused" in said.stderr
    assert "see [database] url in the configuration" in said.stderr
    told = json.loads(_say("--json", exit_code=1).stdout)
    assert told["queue"] is None
    assert "Postgres does not answer" in told["missing"]["queue"]


def test_an_older_schema_is_told_with_what_to_do(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("alter table processes rename to elsewhere"))
        connection.execute(text("update alembic_version set version_num = '0018'"))
    said = _say(exit_code=1)
    assert "not known: Postgres answers, but cannot do this now: UndefinedTable" in said.stdout
    assert "Queue\nclass" in said.stdout  # the rest is shown
    assert "run `neurotriage migrate`" in said.stderr


@pytest.mark.parametrize("facts", [EMPTY, WELL])
@pytest.mark.parametrize("columns", [80, 120])
def test_no_line_is_wider_than_the_terminal_and_no_word_is_cut(facts: Facts, columns: int) -> None:
    console = Console(width=columns, record=True, file=open(os.devnull, "w"))  # noqa: SIM115,PTH123
    console.print(shown(make_snapshot(facts, SETTINGS)))
    said = console.export_text()
    assert max(len(line) for line in said.splitlines()) <= columns
    assert "…" not in said


def _fields(schema: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, part in [("Snapshot", schema), *schema["$defs"].items()]:
        for field in part.get("properties", ()):
            yield name, field


def test_the_json_is_as_the_kept_schema_says() -> None:
    """Where this fails: ``python -m neurotriage.operations.document``; VERSION too, if a meaning changed."""
    assert json.loads((ROOT / "docs" / "status.schema.json").read_text()) == document.schema()


def test_every_field_of_the_json_is_documented() -> None:
    words = (ROOT / "docs" / "data-dictionary.md").read_text()
    section = words.split("## `neurotriage status --json`")[1].split("\n## ")[0]
    fields = set(_fields(document.schema()))
    assert len(fields) > 50
    assert sorted(f"{part}.{field}" for part, field in fields if f"`{field}`" not in section) == []


def test_every_alarm_is_documented_with_what_to_do() -> None:
    rows = (ROOT / "docs" / "admin.md").read_text().splitlines()
    assert [code for code in AlarmCode if not any(row.startswith(f"| `{code}` |") for row in rows)] == []


def test_json_and_watch_exclude_each_other() -> None:
    assert "exclude each other" in _say("--json", "--watch", "1", exit_code=2).stderr


def test_a_watched_status_is_shown_anew_until_it_is_interrupted() -> None:
    command = [sys.executable, "-m", "neurotriage", "status", "--watch", "1"]
    environment = {**os.environ, "TERM": "xterm", "FORCE_COLOR": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as watching:
        assert watching.stdout is not None
        seen = b""
        while seen.count(b"neurotriage at") < 3:
            more = os.read(watching.stdout.fileno(), 65536)
            assert more, seen
            seen += more
        watching.send_signal(signal.SIGINT)
        watching.stdout.read()
        assert watching.wait(20) == 0
