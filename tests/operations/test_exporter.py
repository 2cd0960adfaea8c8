"""Metrics and health by HTTP: one service, of its own port, that never waits for ever."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, event, text

from db.engine import connect
from db.operations.presence import Presence
from db.operations.processes import LoadedModel
from neurotriage.core.process.running import LISTENER
from neurotriage.core.settings import Destination, MetricsSettings, Settings, StorageSettings
from neurotriage.operations import exporter

PACS = Destination(name="pacs", ae_title="PACS", host="10.1.2.3", port=104)


class Served:
    """The service in a thread of this process."""

    def __init__(self, engine: Engine, folder: Path, *, cache_s: float = 0.001) -> None:
        metrics = MetricsSettings(port=0, cache_s=cache_s)
        settings = Settings(storage=StorageSettings(root=folder, min_free_bytes=0), destination=(PACS,))
        self._stop, started = threading.Event(), threading.Event()
        ports: list[int] = []

        def on_started(port: int) -> None:
            ports.append(port)
            started.set()

        work = (engine, settings, metrics, self._stop, on_started)
        self._thread = threading.Thread(target=exporter.run, args=work)
        self._thread.start()
        assert started.wait(20)
        self.port = ports[0]

    def get(self, path: str) -> tuple[int, str]:
        answer = httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=20)
        return answer.status_code, answer.text

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive()


@pytest.fixture
def served(engine: Engine, tmp_path: Path) -> Iterator[Served]:
    made = Served(engine, tmp_path)
    yield made
    made.stop()


def test_metrics_come_in_the_text_format_of_prometheus(served: Served) -> None:
    answer = httpx.get(f"http://127.0.0.1:{served.port}/metrics", timeout=20)
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert 'neurotriage_queue_studies{priority="urgent",state="waiting"} 0.0' in answer.text
    assert "# TYPE neurotriage_disk_free_bytes gauge" in answer.text


def test_a_role_is_live_while_it_tells_and_ready_once_it_has_its_models(
    served: Served, engine: Engine
) -> None:
    assert served.get("/livez") == (200, "ok\n")
    assert served.get("/livez/analysis")[0] == 503
    presence = Presence(engine, "analysis")
    presence.tell()
    assert served.get("/livez/analysis") == (200, "ok\n")
    assert served.get("/readyz/analysis") == (503, "no process has loaded its models yet\n")
    presence.tell("cpu", [LoadedModel("mr", "1", "torch")])
    assert served.get("/readyz/analysis") == (200, "ok\n")
    assert served.get("/readyz/analysis?host=elsewhere")[0] == 503
    assert served.get("/livez/analysis?host=elsewhere")[0] == 503


def test_the_installation_is_ready_once_every_role_is(served: Served, engine: Engine) -> None:
    Presence(engine, LISTENER).tell()
    Presence(engine, "analysis").tell("cpu", [LoadedModel("mr", "1", "torch")])
    status, why = served.get("/readyz")
    assert (status, why) == (503, "delivery: no process of the role delivery runs\n")
    Presence(engine, "delivery").tell()
    assert served.get("/readyz") == (200, "ok\n")


@pytest.mark.parametrize("path", ["/livez/summary", "/readyz/nobody", "/", "/metrics/x"])
def test_what_is_not_there_is_not_found(served: Served, path: str) -> None:
    assert served.get(path)[0] == 404


def test_without_postgres_it_answers_and_says_so(tmp_path: Path) -> None:
    served = Served(connect("postgresql://neurotriage@127.0.0.1:1/neurotriage"), tmp_path)
    try:
        assert served.get("/livez")[0] == 200
        status, why = served.get("/readyz/delivery")
        assert status == 503
        assert "Postgres does not answer" in why
        assert 'neurotriage_known{section="queue"} 0.0' in served.get("/metrics")[1]
    finally:
        served.stop()


def test_however_many_ask_the_tables_are_asked_once(engine: Engine, tmp_path: Path) -> None:
    asked: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
    served = Served(engine, tmp_path, cache_s=60)
    try:
        askers = [threading.Thread(target=served.get, args=("/metrics",)) for _ in range(8)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
    finally:
        served.stop()
    assert sum("from studies where first_received_at" in statement for statement in asked) == 1


def test_livez_answers_while_the_tables_do_not(engine: Engine, served: Served) -> None:
    with engine.begin() as connection:
        connection.execute(text("lock table processes in access exclusive mode"))
        waiting = threading.Thread(target=served.get, args=("/metrics",))
        waiting.start()
        begun = time.monotonic()
        assert served.get("/livez")[0] == 200
        assert time.monotonic() - begun < 2
    waiting.join(20)
    assert not waiting.is_alive()


def test_a_port_that_is_taken_is_named(engine: Engine, served: Served, tmp_path: Path) -> None:
    metrics = MetricsSettings(port=served.port)
    with pytest.raises(OSError, match=f"127.0.0.1:{served.port}"):
        exporter.run(engine, Settings(), metrics, threading.Event(), lambda _: None)
