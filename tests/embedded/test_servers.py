"""The embedded servers, for real: started, stopped, killed, orphaned."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
import redis

from neurotriage.core.errors import Unavailable
from neurotriage.embedded import EmbeddedPostgres, EmbeddedValkey
from neurotriage.embedded.server import EmbeddedServer
from tests.conftest import ROOT


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path / "with spaces" / "postgres", durable=False)
    yield server
    server.remove()


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(tmp_path / "with spaces" / "valkey", durable=False)
    yield server
    server.remove()


def execute(url: str, statement: str) -> list[tuple[object, ...]]:
    """Run one statement with the URL that SQLAlchemy would get."""
    connection = psycopg2.connect(url.replace("+psycopg2", ""))
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []
    finally:
        connection.close()


def vanishes(pid: int, within_s: float = 15.0) -> bool:
    """True when the process ends in time (a zombie nobody has reaped yet has ended, too)."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
            os.kill(pid, 0)
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


def _kill_unasked(server: EmbeddedServer) -> None:
    os.kill(server.pid, signal.SIGKILL)
    server._process.wait(15)


def test_postgres_keeps_its_rows_over_stop_and_kill(postgres: EmbeddedPostgres) -> None:
    url = postgres.start()
    execute(url, "CREATE TABLE kept (n int)")
    execute(url, "INSERT INTO kept VALUES (1)")
    postgres.stop()
    again = postgres.start()
    assert again == url, "workers that know the URL would not find the restarted server"
    execute(again, "INSERT INTO kept VALUES (2)")
    postgres.kill()
    assert execute(postgres.start(), "SELECT n FROM kept ORDER BY n") == [(1,), (2,)]


def test_postgres_starts_on_a_port_that_is_asked_for(postgres: EmbeddedPostgres) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert f"@127.0.0.1:{port}/neurotriage" in postgres.start(port)


def test_postgres_refuses_a_wrong_password_and_offers_no_unix_socket(postgres: EmbeddedPostgres) -> None:
    url = postgres.start()
    assert execute(url, "SHOW unix_socket_directories") == [("",)]
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        execute(url.replace("neuro:", "neuro:x"), "SELECT 1")


def test_postgres_takes_over_a_lock_left_by_a_process_that_is_no_postgres(postgres: EmbeddedPostgres) -> None:
    data = Path(str(execute(postgres.start(), "SHOW data_directory")[0][0]))
    postgres.stop()
    (data / "postmaster.pid").write_text(f"{os.getpid()}\n{data}\n")
    postgres.start()


def test_deleting_the_folder_gives_the_data_up(tmp_path: Path, postgres: EmbeddedPostgres) -> None:
    execute(postgres.start(), "CREATE TABLE gone (n int)")
    postgres.stop()
    shutil.rmtree(tmp_path / "with spaces")
    assert execute(postgres.start(), "SELECT to_regclass('gone')") == [(None,)]


def test_only_a_durable_postgres_forces_its_writes_to_disk(
    tmp_path: Path, postgres: EmbeddedPostgres
) -> None:
    assert execute(postgres.start(), "SHOW fsync") == [("off",)]
    postgres.stop()
    durable = EmbeddedPostgres(tmp_path / "with spaces" / "postgres")
    with durable:
        assert execute(durable.start(), "SHOW fsync") == [("on",)]


def test_valkey_keeps_its_queue_over_stop_and_kill(valkey: EmbeddedValkey) -> None:
    url = valkey.start()
    redis.Redis.from_url(url).rpush("queue", "one")
    valkey.stop()
    assert valkey.start() == url
    redis.Redis.from_url(url).rpush("queue", "two")
    valkey.kill()
    assert redis.Redis.from_url(valkey.start()).lrange("queue", 0, -1) == [b"one", b"two"]


def test_valkey_asks_for_a_password_and_never_drops_what_is_queued(valkey: EmbeddedValkey) -> None:
    url = valkey.start()
    with pytest.raises(redis.AuthenticationError):
        redis.Redis.from_url(f"redis://{url.split('@')[1]}").ping()
    assert redis.Redis.from_url(url).config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    command_line = Path(f"/proc/{valkey.pid}/cmdline").read_bytes()
    assert url.split("@")[0].removeprefix("redis://:").encode() not in command_line


@pytest.mark.parametrize("server", ["postgres", "valkey"])
def test_a_server_that_runs_already_is_not_started_twice(server: str, request: pytest.FixtureRequest) -> None:
    running = request.getfixturevalue(server)
    running.start()
    with pytest.raises(Unavailable, match="runs already"):
        running.start()


@pytest.mark.parametrize("server", ["postgres", "valkey"])
def test_a_server_that_cannot_come_back_yet_is_still_missed(
    server: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = request.getfixturevalue(server)
    running.start()
    assert not running.ended_by_itself
    _kill_unasked(running)
    assert running.ended_by_itself
    with monkeypatch.context() as patch:
        patch.setattr(running, "start_deadline_s", 0.5)
        patch.setattr(running, "_answers", lambda *_: False)
        with pytest.raises(Unavailable, match="does not start"):
            running.start_again()
    assert running.ended_by_itself
    running.start_again()
    assert not running.ended_by_itself
    running.stop()
    assert not running.ended_by_itself


@pytest.mark.parametrize("place", ["folder", "home"])
def test_a_postgres_whose_data_went_away_is_not_made_anew_and_finds_them_again(
    place: str, tmp_path: Path, postgres: EmbeddedPostgres
) -> None:
    url = postgres.start()
    execute(url, "CREATE TABLE kept (n int)")
    _kill_unasked(postgres)
    away = tmp_path / "with spaces" if place == "folder" else postgres.log.parent
    _assert_gone_and_back(postgres, away, url)
    assert execute(url, "SELECT to_regclass('kept')") == [("kept",)]


def test_a_valkey_whose_data_went_away_is_not_made_anew_and_finds_them_again(
    tmp_path: Path, valkey: EmbeddedValkey
) -> None:
    url = valkey.start()
    redis.Redis.from_url(url).rpush("queue", "one")
    _kill_unasked(valkey)
    _assert_gone_and_back(valkey, tmp_path / "with spaces", url)
    assert redis.Redis.from_url(url).lrange("queue", 0, -1) == [b"one"]


@pytest.mark.parametrize("server", ["postgres", "valkey"])
def test_who_is_to_stop_waits_no_longer_for_a_server_that_does_not_come_back(
    server: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = request.getfixturevalue(server)
    ended.start()
    _kill_unasked(ended)
    asked: list[bool] = []
    monkeypatch.setattr(ended, "_answers", lambda *_: asked.append(False))
    with pytest.raises(Unavailable, match="does not start"):
        ended.start_again(lambda: len(asked) == 3)
    assert len(asked) == 3
    assert ended.pid is None


def _assert_gone_and_back(server: EmbeddedServer, place: Path, url: str) -> None:
    """With ``place`` moved away a restart is refused and makes nothing; with it back, all is as before."""
    elsewhere = place.rename(place.with_name(f"{place.name} elsewhere"))
    with pytest.raises(Unavailable, match=f"the data of the embedded {server.name} are gone"):
        server.start_again()
    assert server.ended_by_itself
    assert not place.exists()
    elsewhere.rename(place)
    assert server.start_again() == url


@pytest.mark.parametrize("server", ["postgres", "valkey"])
def test_a_port_that_is_taken_is_reported_with_the_log(
    server: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = request.getfixturevalue(server)
    monkeypatch.setattr(refused, "start_deadline_s", 5.0)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        with pytest.raises(Unavailable, match="ddress already in use"):
            refused.start(other.getsockname()[1])


# What runs in the background of a shell without job control is started with SIGINT ignored.
ORPHAN = """
import signal, sys, time
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)
from neurotriage.embedded import EmbeddedPostgres, EmbeddedValkey
for server in EmbeddedPostgres(Path(sys.argv[1], "p"), durable=False), EmbeddedValkey(Path(sys.argv[1], "v")):
    server.start()
    print(server.pid, flush=True)
# A signal that comes just before a sleep begins is handled after it only: no long sleep.
while True:
    time.sleep(0.1)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_server_outlives_the_process_that_started_it(tmp_path: Path, end: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ORPHAN, tmp_path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT
    ) as parent:
        assert parent.stdout is not None
        servers = [int(parent.stdout.readline()) for _ in range(2)]
        parent.send_signal(end)
        parent.wait(10)
    assert all(vanishes(pid) for pid in servers)
    EmbeddedPostgres(tmp_path / "p").remove()
