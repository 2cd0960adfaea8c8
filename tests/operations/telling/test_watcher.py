"""The watch notes what stands and tells it: each cause at least once, not for ever, whatever is away."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from sqlalchemy import Engine, text

from bench.status import fill
from db.operations import alarms as rows
from db.operations.presence import Presence
from neurotriage.core.process.running import LISTENER, WATCH
from neurotriage.core.settings import (
    CONFIG_VARIABLE,
    DatabaseSettings,
    environment_of,
)
from tests.conftest import until
from tests.operations.telling.receivers import WebServer, mail_server, program
from tests.operations.telling.watching import looks, past, settings_of, watcher_of


def test_all_that_begins_at_once_is_one_message_and_each_end_is_told(
    engine: Engine, tmp_path: Path, server: WebServer
) -> None:
    watcher = watcher_of(engine, tmp_path, webhook=server.settings())
    looks(watcher, 5)
    (body,) = server.bodies
    causes = {(item["event"], item["code"], item["subject"]) for item in body["alarms"]}
    assert causes == {("began", "role_absent", role) for role in (LISTENER, "analysis", WATCH)}
    for role in (LISTENER, "analysis"):
        Presence(engine, role).tell()
    looks(watcher, 5)
    assert len(server.bodies) == 2
    assert {(item["event"], item["subject"]) for item in server.bodies[1]["alarms"]} == {
        ("ended", LISTENER),
        ("ended", "analysis"),
    }
    assert [item.subject for item in past(engine) if item.ended_at is None] == [WATCH]


def test_the_same_goes_by_mail_webhook_and_command(engine: Engine, tmp_path: Path, server: WebServer) -> None:
    command = program(arguments=(str(tmp_path / "told"),))
    with mail_server(tmp_path) as mail:
        looks(
            watcher_of(engine, tmp_path, mail=mail.settings(), webhook=server.settings(), command=command),
            4,
        )
        assert len(mail.mails) == len(server.bodies) == 1
    assert (tmp_path / "told").is_file()


def test_a_channel_that_fails_is_tried_again_and_the_others_are_not(
    engine: Engine, tmp_path: Path, server: WebServer
) -> None:
    server.answers = [503, 302, 500]
    with mail_server(tmp_path) as mail:
        watcher = watcher_of(engine, tmp_path, mail=mail.settings(), webhook=server.settings())
        looks(watcher, 12)
        assert (len(mail.mails), len(server.bodies), server.requests) == (1, 1, 4)
    assert {notice.tries for alarm in past(engine) for notice in alarm.notices} == {0, 3}


def test_tries_have_an_end_which_the_row_tells(engine: Engine, tmp_path: Path, server: WebServer) -> None:
    server.answers = [500] * 99
    watcher = watcher_of(engine, tmp_path, webhook=server.settings(), max_tries=2)
    looks(watcher, 12)
    assert server.requests == 2
    for alarm in past(engine):
        (notice,) = alarm.notices
        assert (notice.given_up, notice.sent_at, notice.tries) == (True, None, 2)
        assert "answers 500" in notice.last_error
    server.answers = []
    Presence(engine, LISTENER).tell()
    looks(watcher, 2)
    assert server.told() == [("ended", "role_absent")]  # what comes later is told


def test_a_pause_between_tries_is_kept(engine: Engine, tmp_path: Path, server: WebServer) -> None:
    server.answers = [500] * 99
    looks(watcher_of(engine, tmp_path, webhook=server.settings(), retry_s=600, retry_max_s=3600), 12)
    assert server.requests == 1


def test_a_cause_is_told_later_where_no_channel_was_configured(
    engine: Engine, tmp_path: Path, server: WebServer
) -> None:
    looks(watcher_of(engine, tmp_path), 3)
    assert len(past(engine)) == 3
    looks(watcher_of(engine, tmp_path, webhook=server.settings()), 3)
    assert server.told() == [("began", "role_absent")] * 3


def test_what_waits_for_a_channel_that_is_configured_no_more_is_given_up(
    engine: Engine, tmp_path: Path, server: WebServer
) -> None:
    server.answers = [500] * 99
    looks(watcher_of(engine, tmp_path, webhook=server.settings()), 3)
    looks(watcher_of(engine, tmp_path), 1)
    assert {notice.given_up for alarm in past(engine) for notice in alarm.notices} == {True}


def test_of_two_processes_one_acts(engine: Engine, tmp_path: Path, server: WebServer) -> None:
    watcher = watcher_of(engine, tmp_path, webhook=server.settings())
    with rows.watching(engine) as first:
        assert first
        looks(watcher, 3)
        assert past(engine) == ()
    looks(watcher, 3)
    assert len(server.bodies) == 1


def test_no_message_holds_a_uid_or_a_patient(engine: Engine, tmp_path: Path, server: WebServer) -> None:
    with engine.begin() as connection:
        fill(connection, studies=2000, instances=3)
        connection.execute(text("update revisions set waiting_since = now() - interval '1 day'"))
        studies = connection.execute(
            text("select study_instance_uid, patient_id, accession_number from studies")
        ).all()
    looks(watcher_of(engine, tmp_path, webhook=server.settings()), 3)
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
    settings = settings_of(tmp_path, command=command).model_copy(
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
    looks(watcher_of(engine, tmp_path, command=command), 4)
    began = [line for line in told.read_text().splitlines() if '"began"' in line and '"analysis"' in line]
    assert len(began) == 2
