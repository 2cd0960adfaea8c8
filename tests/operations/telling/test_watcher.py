"""The watch notes what stands and tells it: each cause at least once, not for ever, whatever is away."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, make_url, text

from bench.status import fill
from db.engine import connect
from db.operations import alarms as rows
from db.operations.alarm_history import PastAlarm, history
from db.operations.presence import Presence
from neurotriage.core.process.running import LISTENER, WATCH
from neurotriage.core.settings import (
    CONFIG_VARIABLE,
    AlarmsSettings,
    DatabaseSettings,
    Settings,
    StorageSettings,
    environment_of,
)
from neurotriage.operations.telling.channel import Channel
from neurotriage.operations.telling.channels import Channels, configured
from neurotriage.operations.telling.watcher import Watcher
from tests.conftest import until
from tests.operations.telling.receivers import WebServer, mail_server, program, web_server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    with web_server(tmp_path) as made:
        yield made


def _settings(folder: Path, **alarms: Any) -> Settings:
    at_once = {"every_s": 0.2, "after_s": 0, "retry_s": 0.001, "retry_max_s": 0.001, "limit_s": 20}
    storage = StorageSettings(root=folder, min_free_bytes=0)
    return Settings(storage=storage, alarms=AlarmsSettings(**{**at_once, **alarms}))


def _watcher(engine: Engine, folder: Path, **alarms: Any) -> Watcher:
    settings = _settings(folder, **alarms)
    assert settings.alarms is not None
    channels: tuple[Channel, ...] = configured(settings.alarms)
    return Watcher(engine, settings, settings.alarms, Channels(channels, settings.alarms.limit_s))


def _looks(watcher: Watcher, number: int) -> None:
    for _ in range(number):
        watcher.look()


def _past(engine: Engine) -> tuple[PastAlarm, ...]:
    with engine.connect() as connection:
        return history(connection, ended=True, limit=100)


def test_all_that_begins_at_once_is_one_message_and_each_end_is_told(
    engine: Engine, tmp_path: Path, server: WebServer
) -> None:
    watcher = _watcher(engine, tmp_path, webhook=server.settings())
    _looks(watcher, 5)
    (body,) = server.bodies
    causes = {(item["event"], item["code"], item["subject"]) for item in body["alarms"]}
    assert causes == {("began", "role_absent", role) for role in (LISTENER, "analysis", WATCH)}
    for role in (LISTENER, "analysis"):
        Presence(engine, role).tell()
    _looks(watcher, 5)
    assert len(server.bodies) == 2
    assert {(item["event"], item["subject"]) for item in server.bodies[1]["alarms"]} == {
        ("ended", LISTENER),
        ("ended", "analysis"),
    }
    assert [item.subject for item in _past(engine) if item.ended_at is None] == [WATCH]


def test_the_same_goes_by_mail_webhook_and_command(engine: Engine, tmp_path: Path, server: WebServer) -> None:
    command = program(arguments=(str(tmp_path / "told"),))
    with mail_server(tmp_path) as mail:
        _looks(
            _watcher(engine, tmp_path, mail=mail.settings(), webhook=server.settings(), command=command),
            4,
        )
        assert len(mail.mails) == len(server.bodies) == 1
    assert (tmp_path / "told").is_file()


def test_a_channel_that_fails_is_tried_again_and_the_others_are_not(
    engine: Engine, tmp_path: Path, server: WebServer
) -> None:
    server.answers = [503, 302, 500]
    with mail_server(tmp_path) as mail:
        watcher = _watcher(engine, tmp_path, mail=mail.settings(), webhook=server.settings())
        _looks(watcher, 12)
        assert (len(mail.mails), len(server.bodies), server.requests) == (1, 1, 4)
    assert {notice.tries for alarm in _past(engine) for notice in alarm.notices} == {0, 3}


def test_tries_have_an_end_which_the_row_tells(engine: Engine, tmp_path: Path, server: WebServer) -> None:
    server.answers = [500] * 99
    watcher = _watcher(engine, tmp_path, webhook=server.settings(), max_tries=2)
    _looks(watcher, 12)
    assert server.requests == 2
    for alarm in _past(engine):
        (notice,) = alarm.notices
        assert (notice.given_up, notice.sent_at, notice.tries) == (True, None, 2)
        assert "answers 500" in notice.last_error
    server.answers = []
    Presence(engine, LISTENER).tell()
    _looks(watcher, 2)
    assert server.told() == [("ended", "role_absent")]  # what comes later is told


def test_a_pause_between_tries_is_kept(engine: Engine, tmp_path: Path, server: WebServer) -> None:
    server.answers = [500] * 99
    _looks(_watcher(engine, tmp_path, webhook=server.settings(), retry_s=600, retry_max_s=3600), 12)
    assert server.requests == 1


def test_a_cause_is_told_later_where_no_channel_was_configured(
    engine: Engine, tmp_path: Path, server: WebServer
) -> None:
    _looks(_watcher(engine, tmp_path), 3)
    assert len(_past(engine)) == 3
    _looks(_watcher(engine, tmp_path, webhook=server.settings()), 3)
    assert server.told() == [("began", "role_absent")] * 3


def test_what_waits_for_a_channel_that_is_configured_no_more_is_given_up(
    engine: Engine, tmp_path: Path, server: WebServer
) -> None:
    server.answers = [500] * 99
    _looks(_watcher(engine, tmp_path, webhook=server.settings()), 3)
    _looks(_watcher(engine, tmp_path), 1)
    assert {notice.given_up for alarm in _past(engine) for notice in alarm.notices} == {True}


def test_of_two_processes_one_acts(engine: Engine, tmp_path: Path, server: WebServer) -> None:
    watcher = _watcher(engine, tmp_path, webhook=server.settings())
    with rows.watching(engine) as first:
        assert first
        _looks(watcher, 3)
        assert _past(engine) == ()
    _looks(watcher, 3)
    assert len(server.bodies) == 1


@contextmanager
def _postgres_away(url: str) -> Iterator[None]:
    """The database takes no connection, and those that there are end."""
    name = make_url(url).database
    admin = connect(make_url(url).set(database="postgres").render_as_string(hide_password=False))
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"alter database {name} allow_connections false"))
        connection.execute(
            text("select pg_terminate_backend(pid) from pg_stat_activity where datname = :name"),
            {"name": name},
        )
        yield
        connection.execute(text(f"alter database {name} allow_connections true"))
    admin.dispose()


def test_without_postgres_that_is_told_once_and_its_end_too(
    engine: Engine, database_url: str, tmp_path: Path, server: WebServer
) -> None:
    watcher = _watcher(engine, tmp_path, webhook=server.settings())
    _looks(watcher, 2)
    server.bodies.clear()
    server.answers = [500]
    with _postgres_away(database_url):
        _looks(watcher, 4)
        assert server.told() == [("began", "unknown")]
        assert "Postgres does not answer" in server.bodies[0]["alarms"][0]["text"]
    _looks(watcher, 4)
    assert server.told() == [("began", "unknown"), ("ended", "unknown")]  # and nothing else began or ended
    (outage,) = [alarm for alarm in _past(engine) if alarm.code == "unknown"]
    assert outage.ended_at is not None
    assert outage.found_at < outage.ended_at


@contextmanager
def _disk_of_postgres_full(engine: Engine, table: str = "alarms", only: str = "") -> Iterator[None]:
    """Every table can be read, and one takes no row."""
    full = "$$ begin raise exception using errcode = 'disk_full'; end $$"
    with engine.begin() as connection:
        connection.execute(text(f"create function full_disk() returns trigger language plpgsql as {full}"))
        connection.execute(
            text(
                "create trigger full_disk before insert or update on "
                f"{table} for each row when (new.id is not null{only}) execute function full_disk()"
            )
        )
    yield
    with engine.begin() as connection:
        connection.execute(text("drop function full_disk cascade"))


def test_that_tables_take_no_row_is_told_once_and_its_end_too(
    engine: Engine, tmp_path: Path, server: WebServer
) -> None:
    watcher = _watcher(engine, tmp_path, webhook=server.settings())
    server.answers = [500]
    with _disk_of_postgres_full(engine):
        _looks(watcher, 4)
        assert server.told() == [("began", "unknown")]
        assert "DiskFull" in server.bodies[0]["alarms"][0]["text"]
    _looks(watcher, 1)
    assert server.told()[1:] == [("ended", "unknown")]
    _looks(watcher, 2)
    assert server.told()[2:] == [("began", "role_absent")] * 3


def test_what_was_sent_and_cannot_be_noted_is_sent_no_second_time_and_noted_later(
    engine: Engine, tmp_path: Path, server: WebServer
) -> None:
    with mail_server(tmp_path) as mail:
        watcher = _watcher(engine, tmp_path, mail=mail.settings(), webhook=server.settings())
        with _disk_of_postgres_full(engine, "alarm_notices", " and new.sent_at is not null"):
            _looks(watcher, 4)
            assert len(mail.mails) == len(server.bodies) == 1
            Presence(engine, LISTENER).tell()
            _looks(watcher, 2)
        assert server.told()[3:] == [("ended", "role_absent")]  # what comes later is told all the same
        _looks(watcher, 1)
        assert len(mail.mails) == len(server.bodies) == 2
    notices = [notice for alarm in _past(engine) for notice in alarm.notices]
    assert len(notices) == 8
    assert all(notice.sent_at for notice in notices)


def test_its_end_is_told_also_where_another_process_watches_just_then(
    engine: Engine, database_url: str, tmp_path: Path, server: WebServer
) -> None:
    watcher = _watcher(engine, tmp_path, webhook=server.settings())
    with _postgres_away(database_url):
        _looks(watcher, 2)
    with rows.watching(engine) as other:
        assert other
        _looks(watcher, 1)
    _looks(watcher, 2)
    assert server.told()[:2] == [("began", "unknown"), ("ended", "unknown")]


def test_the_end_of_an_outage_is_told_though_the_clock_of_postgres_is_behind(
    engine: Engine, database_url: str, tmp_path: Path, server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = _watcher(engine, tmp_path, webhook=server.settings())
    with _postgres_away(database_url):
        _looks(watcher, 2)
    behind = datetime.now(UTC) - timedelta(minutes=5)
    monkeypatch.setattr(rows, "now", lambda _: behind)
    _looks(watcher, 1)
    assert server.told() == [("began", "unknown"), ("ended", "unknown")]
    (outage,) = [alarm for alarm in _past(engine) if alarm.code == "unknown"]
    assert outage.ended_at is not None
    assert outage.found_at <= outage.ended_at


def test_a_short_outage_of_postgres_is_not_told(
    engine: Engine, database_url: str, tmp_path: Path, server: WebServer
) -> None:
    watcher = _watcher(engine, tmp_path, webhook=server.settings(), after_s=300)
    with _postgres_away(database_url):
        _looks(watcher, 3)
    _looks(watcher, 3)
    assert server.requests == 0


def test_no_message_holds_a_uid_or_a_patient(engine: Engine, tmp_path: Path, server: WebServer) -> None:
    with engine.begin() as connection:
        fill(connection, studies=2000, instances=3)
        connection.execute(text("update revisions set waiting_since = now() - interval '1 day'"))
        studies = connection.execute(
            text("select study_instance_uid, patient_id, accession_number from studies")
        ).all()
    _looks(_watcher(engine, tmp_path, webhook=server.settings()), 3)
    assert {"queue_old", "role_absent"} <= {code for _, code in server.told()}
    said = str(server.bodies)
    private = {value for study in studies for value in study if value and len(value) > 3}
    assert len(private) >= 2000
    assert [value for value in private if value in said] == []


_KILLS_ITS_PARENT_ONCE = """
import os, pathlib, signal, sys
told = pathlib.Path(sys.argv[1])
is_first = not told.exists()
with told.open("ab") as file:
    file.write(sys.stdin.buffer.read() + b"\\n")
if is_first:
    os.kill(os.getppid(), signal.SIGKILL)
"""


def test_a_kill_after_a_message_was_taken_has_it_told_once_more_and_no_third_time(
    engine: Engine, database_url: str, tmp_path: Path
) -> None:
    told, log = tmp_path / "told", tmp_path / "log"
    command = program(_KILLS_ITS_PARENT_ONCE, (str(told),))
    settings = _settings(tmp_path, command=command).model_copy(
        update={"database": DatabaseSettings(url=database_url)}
    )
    words = [sys.executable, "-m", "neurotriage", "watch"]
    environment = {**os.environ, **environment_of(settings), CONFIG_VARIABLE: os.devnull}
    Presence(engine, LISTENER).tell()
    first = subprocess.Popen(words, env=environment)
    assert first.wait(60) == -signal.SIGKILL
    with log.open("wb") as written:
        second = subprocess.Popen(words, env=environment, stderr=written)
    try:
        until(lambda: "alarms_told" in log.read_text())
    finally:
        second.send_signal(signal.SIGTERM)
        assert second.wait(60) == 0
    _looks(_watcher(engine, tmp_path, command=command), 4)
    began = [line for line in told.read_text().splitlines() if '"began"' in line and '"analysis"' in line]
    assert len(began) == 2
