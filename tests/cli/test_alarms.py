"""``alarms`` shows what was found and told, takes note of it, and tries the channels."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner, Result

from db.operations.alarms import begin, now
from neurotriage.cli import app
from neurotriage.core.settings import CONFIG_VARIABLE, AlarmsSettings, Settings, StorageSettings
from neurotriage.embedded.stack import WATCH, Stack
from tests.conftest import until
from tests.operations.telling.receivers import web_server


@pytest.fixture(autouse=True)
def _configured(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, os.devnull)
    monkeypatch.setenv("NEUROTRIAGE__DATABASE__URL", database_url)
    monkeypatch.setenv("NEUROTRIAGE__STORAGE__ROOT", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "160")


def _say(*words: str, exit_code: int = 0) -> Result:
    answer = CliRunner().invoke(app, words)
    assert answer.exit_code == exit_code, answer.output
    return answer


@pytest.fixture
def _stands(engine: Engine) -> None:
    """As on an installation without processes, and with a destination that waits."""
    causes = [
        ("role_absent", "listen", None),
        ("role_absent", "analysis", None),
        ("delivery_waits", "pacs", 3),
    ]
    with engine.begin() as connection:
        found = [
            {"code": code, "subject": subject, "since": None, "count": count, "text": "a sentence"}
            for code, subject, count in causes
        ]
        begin(connection, found, now(connection))


def test_without_a_watch_nothing_was_found_and_that_is_said() -> None:
    said = _say("alarms")
    assert "no alarm" in said.stdout
    assert "nobody watches" in said.stderr


@pytest.mark.usefixtures("_stands")
def test_what_stands_is_shown_and_history_where_it_is_asked_for(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("update alarms set ended_at = now() where subject = 'pacs'"))
    assert "pacs" not in _say("alarms").stdout
    said = _say("alarms", "--all").stdout
    assert "delivery_waits" in said
    assert "ended" in said
    told = json.loads(_say("alarms", "--all", "--json").stdout)
    assert [(item["code"], item["subject"], item["count"]) for item in told] == [
        ("role_absent", "analysis", None),
        ("role_absent", "listen", None),
        ("delivery_waits", "pacs", 3),
    ]


@pytest.mark.usefixtures("_stands")
def test_an_alarm_is_acknowledged_by_code_and_subject_for_a_time_or_until_it_ends() -> None:
    assert _say("alarms", "--acknowledge", "role_absent/listen", "--for", "2h").stdout == (
        "acknowledged: role_absent listen\n"
    )
    by_subject = {item["subject"]: item for item in json.loads(_say("alarms", "--json").stdout)}
    assert by_subject["listen"]["acknowledged_until"] is not None
    assert "@" in by_subject["listen"]["acknowledged_by"]
    assert by_subject["analysis"]["acknowledged_at"] is None
    _say("alarms", "--acknowledge", "role_absent")
    by_subject = {item["subject"]: item for item in json.loads(_say("alarms", "--json").stdout)}
    assert by_subject["analysis"]["acknowledged_at"] is not None
    assert by_subject["analysis"]["acknowledged_until"] is None
    assert by_subject["pacs"]["acknowledged_at"] is None


@pytest.mark.usefixtures("_stands")
def test_status_marks_what_is_acknowledged_while_it_is() -> None:
    _say("alarms", "--acknowledge", "role_absent/listen")
    alarms = json.loads(_say("status", "--json").stdout)["alarms"]
    assert {item["subject"]: bool(item["acknowledged_by"]) for item in alarms} == {
        "listen": True,
        "analysis": False,
    }
    assert "acknowledged by" in _say("status").stdout


@pytest.mark.usefixtures("_stands")
def test_what_does_not_stand_cannot_be_acknowledged() -> None:
    assert (
        "no alarm role_absent/delivery stands"
        in _say("alarms", "--acknowledge", "role_absent/delivery", exit_code=1).stderr
    )


@pytest.mark.parametrize("words", [("--for", "2h"), ("--acknowledge", "x", "--for", "2 hours")])
def test_a_time_that_means_nothing_is_refused(words: tuple[str, ...]) -> None:
    _say("alarms", *words, exit_code=2)


def test_a_test_message_goes_by_every_channel_and_a_failure_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with web_server(tmp_path) as server:
        alarms = AlarmsSettings(webhook=server.settings())
        monkeypatch.setenv("NEUROTRIAGE__ALARMS", alarms.model_dump_json(exclude_none=True))
        assert _say("alarms", "--test").stdout == "webhook: taken\n"
        assert [body["test"] for body in server.bodies] == [True]
        server.answers = [500]
        assert "answers 500" in _say("alarms", "--test", exit_code=1).stderr


@pytest.mark.parametrize("command", [("alarms", "--test"), ("watch",)])
def test_without_a_table_or_channel_there_is_nobody_to_tell(command: tuple[str, ...]) -> None:
    answer = CliRunner().invoke(app, command)
    assert "alarms: " in str(answer.exception)


def test_it_watches_until_it_is_told_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Engine
) -> None:
    monkeypatch.setenv("NEUROTRIAGE__ALARMS", "{}")
    log = tmp_path / "log"
    with log.open("wb") as written:
        watching = subprocess.Popen([sys.executable, "-m", "neurotriage", "watch"], stderr=written)
    try:
        until(lambda: "role_absent" in _say("alarms").stdout)
    finally:
        watching.send_signal(signal.SIGTERM)
        assert watching.wait(30) == 0
    with engine.connect() as connection:
        assert connection.execute(text("select count(*) from processes")).scalar() == 0


def test_serve_runs_it_where_the_table_is_there(tmp_path: Path) -> None:
    storage = StorageSettings(root=tmp_path / "storage")
    for alarms in (None, AlarmsSettings()):
        settings = Settings(storage=storage, alarms=alarms)
        with Stack(settings, tmp_path / "serve", ephemeral=True, roles=()) as stack:
            if alarms is None:
                assert not stack.log(WATCH).exists()
            else:
                until(lambda: "watching" in stack.log(WATCH).read_text())
