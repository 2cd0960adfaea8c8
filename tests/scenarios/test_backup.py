"""A host burns down, and another takes its place from the backup: real processes, and commands alone."""

import itertools
import json
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from db.engine import connect
from neurotriage.demo.pacs import StandInPacs
from neurotriage.embedded.process import free_port
from tests.conftest import until
from tests.listener.conftest import associate, instance, status_of
from tests.scenarios.test_beside_serve import Host

pytestmark = pytest.mark.scenario

STUDY, STREAM, LATE = "1.2.3", "1.2.4", "1.2.5"


def _host(folder: Path, pacs_port: int) -> Host:
    host = Host(folder)
    with (folder / "config.toml").open("a") as config:
        config.write(
            "[assembly]\nquiet_s = 1\nreleased_quiet_s = 1\n[delivery]\nretry_s = 1\nretry_max_s = 2\n"
            '[worker]\nengine = "torch"\nlease_s = 6\nsweep_s = 1\n'
            f'[[destination]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = {pacs_port}\n'
        )
    return host


def _answer(host: Host, statement: str) -> list[tuple[object, ...]]:
    """Ask the database of ``serve``."""
    addresses = json.loads((host.serve_folder / "addresses.json").read_bytes())
    engine = connect(addresses["database_url"])
    try:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement))]
    finally:
        engine.dispose()


def _received(host: Host) -> set[object]:
    return {uid for (uid,) in _answer(host, "select sop_instance_uid from instances")}


def _succeeds(host: Host, *words: str) -> str:
    answer = host.call(*words)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@contextmanager
def _stream(host: Host) -> Iterator[Callable[[], set[str]]]:
    """Images that come all the time; gives those that were answered 0x0000 so far."""
    acknowledged: set[str] = set()
    stop = threading.Event()

    def send() -> None:
        association = associate(host.port)
        for number in itertools.count(1):
            image = instance(STREAM, number)
            if stop.is_set() or status_of(association, image) != 0:
                break
            acknowledged.add(str(image.SOPInstanceUID))
        association.release()

    sender = threading.Thread(target=send)
    sender.start()
    try:
        until(lambda: len(acknowledged) > 100)
        yield acknowledged.copy
    finally:
        stop.set()
        sender.join(30)


def _send(host: Host, study: str) -> None:
    association = associate(host.port)
    images = [instance(study, number, BodyPartExamined="HEAD") for number in (1, 2, 3)]
    assert [status_of(association, image) for image in images] == [0, 0, 0]
    association.release()


def _burn_down(served: subprocess.Popen[str]) -> None:
    """Kill it with all its children, which end with it."""
    served.kill()
    served.communicate(timeout=60)


def test_another_host_takes_the_place_of_one_that_burnt_down(tmp_path: Path) -> None:
    pacs_port, folder = free_port(), tmp_path / "backup"
    burnt, new = _host(tmp_path / "burnt", pacs_port), _host(tmp_path / "new", pacs_port)
    served = burnt.serve()
    try:
        _send(burnt, STUDY)
        until(lambda: _answer(burnt, "select state from deliveries") == [("waiting",)], 100)
        with _stream(burnt) as acknowledged:
            _succeeds(burnt, "backup", str(folder))
            before = acknowledged()
            _succeeds(burnt, "backup", str(folder))
        _send(burnt, LATE)
        until(lambda: f"{LATE}.1.3" in _received(burnt))
        (results,) = _answer(burnt, "select sop_instance_uid from result_objects where id = 1")
    finally:
        _burn_down(served)

    assert "is whole" in _succeeds(new, "backup", str(folder), "--verify")
    assert "restored as of" in _succeeds(new, "restore", str(folder))
    pacs = StandInPacs(tmp_path / "pacs")
    pacs.port = pacs_port
    with pacs, _serving(new):
        until(lambda: before <= _received(new))
        assert f"{LATE}.1.3" not in _received(new)
        until(lambda: set(results) <= pacs.received().keys())
        taken = _succeeds(new, "import", str(burnt.folder / "kept here" / "store"))
        assert " 0 refused" in taken
        until(lambda: f"{LATE}.1.3" in _received(new))


@contextmanager
def _serving(host: Host) -> Iterator[None]:
    served = host.serve()
    try:
        yield
    finally:
        served.send_signal(signal.SIGTERM)
        served.communicate(timeout=90)
