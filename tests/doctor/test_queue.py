"""What is told of the broker and of the workers behind it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis
from celery.app.control import Control, Inspect

from neurotriage.core.settings import environment_of
from neurotriage.doctor import State
from neurotriage.doctor.queue import look_at_queue
from tests.doctor.looks import by_subject, settings


def test_a_broker_takes_a_message_there_and_back_and_keeps_nothing(broker_url: str) -> None:
    kept = redis.Redis.from_url(broker_url)
    kept.flushall()
    found = by_subject(look_at_queue(settings(broker={"url": broker_url})))
    assert found["broker"].state is State.OK
    assert found["analysis worker"].state is found["delivery worker"].state is State.FAILED
    assert "neurotriage work --role delivery" in found["delivery worker"].advice
    assert [key for key in kept.scan_iter() if b"doctor" in key] == []


def test_a_broker_that_does_not_answer_fails_and_its_password_stays_secret() -> None:
    (found,) = look_at_queue(settings(broker={"url": "redis://:hunter2@127.0.0.1:1/0"}))
    assert found.state is State.FAILED
    assert "hunter2" not in repr(found)


def test_a_ping_whose_answer_does_not_come_is_no_failure_of_the_broker(
    broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*_: object, **__: object) -> None:
        raise redis.TimeoutError("Timeout reading from socket")

    monkeypatch.setattr(Control, "broadcast", silent)
    monkeypatch.setattr(Inspect, "ping", silent)
    checks = by_subject(look_at_queue(settings(broker={"url": broker_url})))
    assert checks["broker"].state is State.OK
    assert "none answers" in checks["analysis worker"].said


def test_a_worker_that_runs_is_seen(database_url: str, broker_url: str, tmp_path: Path) -> None:
    site = settings(database={"url": database_url}, broker={"url": broker_url}, storage={"root": tmp_path})
    with (tmp_path / "log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "neurotriage", "work", "--role", "delivery"],
            env={**os.environ, **environment_of(site)},
            stdout=log,
            stderr=log,
        )
        try:
            for _ in range(30):  # each look waits for answers by itself
                found = by_subject(look_at_queue(site))["delivery worker"]
                if found.state is State.OK:
                    break
            assert found.state is State.OK, (tmp_path / "log").read_text()
            assert found.said.startswith("delivery-")
            pacs = {"name": "pacs", "ae_title": "PACS", "host": "pacs", "port": 104}
            edited = by_subject(
                look_at_queue(settings(**site.model_dump(exclude={"destination"}), destination=[pacs]))
            )
            assert edited["delivery worker"].state is State.FAILED
            assert "configuration edited since it started" in edited["delivery worker"].said
            assert edited["delivery worker"].said.endswith(": [[destination]]")
        finally:
            worker.terminate()
            worker.wait(20)
