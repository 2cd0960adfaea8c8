"""Each process keeps a row while it runs, and takes it away when it ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine, text, update

from db.clock import seconds
from db.operations.presence import BEAT_EVERY_S, Presence
from db.operations.processes import GONE_AFTER_S, LoadedModel, RunningProcess, processes
from db.tables import Process
from neurotriage.core.errors import Unavailable
from neurotriage.core.process.running import LISTENER
from neurotriage.core.settings import CONFIG_VARIABLE
from tests.conftest import until
from worker.presence import PresenceKeeper

MODEL = LoadedModel("mr", "0.3.0", "openvino")


def _processes(engine: Engine) -> tuple[RunningProcess, ...]:
    with engine.connect() as connection:
        return processes(connection)


def _age(engine: Engine, by_s: float) -> None:
    with engine.begin() as connection:
        connection.execute(update(Process).values(last_seen_at=Process.last_seen_at - seconds(by_s)))


def test_a_process_tells_where_it_runs_and_what_it_has_loaded_until_it_ends(engine: Engine) -> None:
    presence = Presence(engine, "analysis")
    presence.tell()
    assert [(p.role, p.pid, p.device, p.models) for p in _processes(engine)] == [
        ("analysis", os.getpid(), "", ())
    ]
    presence.tell("cpu", [MODEL])
    (told,) = _processes(engine)
    assert (told.device, told.models, told.is_gone) == ("cpu", (MODEL,), False)
    presence.leave()
    assert _processes(engine) == ()


def test_a_process_that_tells_nothing_is_gone_and_back_once_it_tells_again(engine: Engine) -> None:
    presence = Presence(engine, "analysis")
    presence.tell()
    _age(engine, GONE_AFTER_S + 1)
    (silent,) = _processes(engine)
    assert silent.is_gone
    presence.tell()
    (back,) = _processes(engine)
    assert not back.is_gone
    assert back.started_at == silent.started_at


def test_a_row_that_was_deleted_meanwhile_comes_back(engine: Engine) -> None:
    presence = Presence(engine, "analysis")
    presence.tell()
    with engine.begin() as connection:
        connection.execute(text("delete from processes"))
    presence.tell()  # finds none
    presence.tell()
    assert len(_processes(engine)) == 1


def test_who_starts_takes_away_the_row_of_one_that_was_killed_and_no_other(engine: Engine) -> None:
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    for role, host, pid in (
        ("analysis", os.uname().nodename, killed.pid),
        ("analysis", os.uname().nodename, os.getppid()),
        ("delivery", os.uname().nodename, killed.pid),
        ("analysis", "elsewhere", killed.pid),
    ):
        with engine.begin() as connection:
            connection.execute(
                text(
                    "insert into processes (host, role, pid, software_version) "
                    "values (:host, :role, :pid, '0')"
                ),
                {"host": host, "role": role, "pid": pid},
            )
    Presence(engine, "analysis").tell()
    assert {(p.role, p.host == "elsewhere", p.pid) for p in _processes(engine)} == {
        ("analysis", False, os.getpid()),
        ("analysis", False, os.getppid()),
        ("analysis", True, killed.pid),
        ("delivery", False, killed.pid),
    }


def test_what_has_been_silent_for_a_day_is_forgotten_when_another_starts(engine: Engine) -> None:
    Presence(engine, "delivery").tell()
    _age(engine, 86_500)
    Presence(engine, "analysis").tell()
    assert [p.role for p in _processes(engine)] == ["analysis"]


def test_what_has_been_silent_for_a_day_is_told_of_no_more_though_nothing_starts(engine: Engine) -> None:
    Presence(engine, "delivery").tell()
    _age(engine, 86_300)
    assert [p.role for p in _processes(engine)] == ["delivery"]
    _age(engine, 200)
    assert _processes(engine) == ()


def test_without_postgres_telling_is_unavailable_and_leaving_is_silent(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("drop table processes"))
    with pytest.raises(Unavailable):
        Presence(engine, "analysis").tell()
    Presence(engine, "analysis").leave()


def test_a_worker_tells_its_models_at_once_when_they_are_loaded(engine: Engine) -> None:
    card, running = (
        SimpleNamespace(name="mr", version="0.3.0"),
        SimpleNamespace(name="openvino", device="cpu"),
    )
    loaded: list[Any] = []
    keeper = PresenceKeeper(engine, "analysis", lambda: tuple(loaded))
    keeper.start()
    until(lambda: len(_processes(engine)) == 1)
    loaded.append(SimpleNamespace(card=card, engine=running))
    keeper.tell_now()
    until(lambda: _processes(engine)[0].models == (MODEL,), within_s=BEAT_EVERY_S / 2)
    assert _processes(engine)[0].device == "cpu"
    keeper.end()
    assert _processes(engine) == ()


@pytest.fixture
def services(database_url: str, broker_url: str, tmp_path: Path) -> Iterator["Services"]:
    made = Services(database_url, broker_url, tmp_path)
    yield made
    made.stop()


class Services:
    """Real processes of the product."""

    def __init__(self, database_url: str, broker_url: str, folder: Path) -> None:
        self._folder = folder
        self._environment = {
            **os.environ,
            CONFIG_VARIABLE: os.devnull,
            "NEUROTRIAGE__DATABASE__URL": database_url,
            "NEUROTRIAGE__BROKER__URL": broker_url,
            "NEUROTRIAGE__STORAGE__ROOT": str(folder / "storage"),
            "NEUROTRIAGE__LISTENER__PORT": "0",
        }
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{words[-1]}.log").open("wb") as log:
            command = [sys.executable, "-m", "neurotriage", *words]
            self._running.append(subprocess.Popen(command, env=self._environment, stdout=log, stderr=log))
        return self._running[-1]

    def stop(self) -> None:
        for process in self._running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self._running:
            process.wait(60)


def test_a_worker_tells_from_its_start_to_its_end_and_its_replacement_after_a_kill(
    engine: Engine, services: Services
) -> None:
    worker = services.start("work", "--role", "delivery")
    until(lambda: len(_processes(engine)) == 1)
    (first,) = _processes(engine)
    assert (first.role, first.models) == ("delivery", ())
    os.kill(first.pid, signal.SIGKILL)  # a process of the pool, which gets another
    until(lambda: [p.pid for p in _processes(engine)] not in ([], [first.pid]))
    (second,) = _processes(engine)
    worker.send_signal(signal.SIGTERM)
    worker.wait(60)
    assert second.pid != first.pid
    assert _processes(engine) == ()


def test_the_ingester_tells_that_the_listener_runs(engine: Engine, services: Services) -> None:
    listener = services.start("listen")
    until(lambda: [p.role for p in _processes(engine)] == [LISTENER])
    listener.send_signal(signal.SIGTERM)
    listener.wait(60)
    assert _processes(engine) == ()
