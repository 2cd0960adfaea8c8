"""In another terminal, beside ``neurotriage serve``, the other commands just work."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from neurotriage.embedded.process import free_port
from tests.listener.conftest import instance, send

pytestmark = pytest.mark.scenario


class Host:
    """A folder with a configuration, in which commands are called."""

    def __init__(self, folder: Path, address: str = "127.0.0.1") -> None:
        self.folder = folder
        self.port = free_port()
        folder.mkdir()
        (folder / "config.toml").write_text(
            f'[listener]\nhost = "{address}"\nport = {self.port}\n'
            '[storage]\nroot = "kept here"\nmin_free_bytes = 0\n'
        )

    @property
    def said(self) -> Path:
        """What ``serve`` says on standard error."""
        return self.folder / "said.txt"

    @property
    def serve_folder(self) -> Path:
        return self.folder / "kept here" / "serve"

    def call(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "neurotriage", *words],
            cwd=self.folder,
            env=_environment() | variables,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    def serve(self) -> subprocess.Popen[str]:
        """Start ``serve`` and wait until it listens."""
        with self.said.open("wb") as errors:
            served = subprocess.Popen(
                [sys.executable, "-m", "neurotriage", "serve"],
                cwd=self.folder,
                env=_environment(),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert served.stdout is not None
        assert served.stdout.readline().startswith("listening as NEUROTRIAGE")
        return served


def _await_the_end_of_the_listener(port: int) -> None:
    """The kernel tells it that its parent died."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return
        time.sleep(0.05)
    raise AssertionError("the listener of a killed serve still receives")


def _await(what: str, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError(f"not within a minute: {what}")


def _child(parent: int, name: str) -> int | None:
    """The process of that name that the parent started."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    named = [int(pid) for pid in children if _name(pid).startswith(name)]
    return named[0] if named else None


def _name(pid: str) -> str:
    """The name of a process; empty where it was reaped meanwhile."""
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _answers(broker_url: str) -> bool:
    try:
        return bool(redis.Redis.from_url(broker_url).ping())
    except redis.RedisError:
        return False


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("NEUROTRIAGE")}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host on which ``serve`` runs; it listens on one address of several."""
    host = Host(tmp_path_factory.mktemp("beside") / "a host", "127.0.0.2")
    served = host.serve()
    yield host
    served.send_signal(signal.SIGTERM)
    served.communicate(timeout=90)
    assert served.returncode == 0
    assert not (host.serve_folder / "addresses.json").exists()


def test_results_why_retry_and_recall_ask_the_database_of_serve(host: Host) -> None:
    answer = host.call("results", "--format", "json")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "[]\n", "")
    answer = host.call("why", "A1")
    assert (answer.returncode, answer.stderr) == (
        1,
        "no study has the StudyInstanceUID or accession number A1\n",
    )
    answer = host.call("retry", "--all")
    assert (answer.returncode, answer.stdout) == (0, "nothing was refused, given up or lost\n")
    answer = host.call("recall", "model", "1.0")
    assert (answer.returncode, answer.stderr) == (1, "no study was analysed by model 1.0\n")


def test_the_doctor_sees_database_broker_workers_and_listener_of_serve(host: Host) -> None:
    wanted = {
        ("database", "schema"),
        ("queue", "broker"),
        ("queue", "analysis worker"),
        ("queue", "delivery worker"),
        ("listener", "port"),
    }
    for _ in range(15):  # a worker that has only just started does not answer yet, and the doctor says so
        answer = host.call("doctor", "--json")
        well = {
            (part["name"], check["subject"])
            for part in json.loads(answer.stdout)
            for check in part["checks"]
            if check["state"] == "ok"
        }
        if wanted <= well:
            assert answer.returncode == 0, answer.stdout
            return
    raise AssertionError(answer.stdout)


def test_nobody_else_may_read_the_addresses(host: Host) -> None:
    assert stat.S_IMODE((host.serve_folder / "addresses.json").stat().st_mode) == 0o600


def test_a_configured_database_is_asked_and_not_that_of_serve(host: Host) -> None:
    url = f"postgresql+psycopg2://me@127.0.0.1:{free_port()}/mine"
    answer = host.call("results", NEUROTRIAGE__DATABASE__URL=url)
    assert answer.returncode == 1
    assert "Connection refused" in answer.stderr
    assert f"the `neurotriage serve` in {host.serve_folder} has a database of its own" in answer.stderr


def test_a_second_serve_of_the_same_folder_ends_at_once_with_a_sentence(host: Host) -> None:
    answer = host.call("serve")
    assert answer.returncode == 1
    assert answer.stderr.startswith(f"another `neurotriage serve` runs in {host.serve_folder}: stop it")
    assert host.call("results").returncode == 0


@pytest.mark.parametrize("command", ["serve", "listen"])
def test_a_port_that_another_program_has_is_named(command: str, tmp_path: Path) -> None:
    host = Host(tmp_path / "taken")
    with socket.socket() as other:
        other.bind(("127.0.0.1", host.port))
        other.listen()
        answer = host.call(command)
    assert answer.returncode == 1
    assert f"127.0.0.1:{host.port}" in answer.stderr
    assert "Address already in use" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_addresses_that_a_killed_serve_left_are_not_believed(tmp_path: Path) -> None:
    host = Host(tmp_path / "killed")
    served = host.serve()
    served.kill()
    served.communicate(timeout=30)
    _await_the_end_of_the_listener(host.port)
    assert (host.serve_folder / "addresses.json").exists()
    answer = host.call("results")
    assert answer.returncode == 1
    assert answer.stderr.endswith(
        f"no `neurotriage serve` runs in {host.serve_folder}, and config.toml names no [database] url\n"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for the children")
def test_serve_starts_its_postgres_and_valkey_again_and_goes_on_receiving(tmp_path: Path) -> None:
    host = Host(tmp_path / "servers")
    served = host.serve()
    try:
        before = {name: _child(served.pid, name) for name in ("postgres", "valkey")}
        for name, pid in before.items():
            os.kill(pid, signal.SIGKILL)
            _await(f"another {name}", lambda name=name: _child(served.pid, name) not in (None, before[name]))
        _await("Postgres answers", lambda: host.call("results", "--format", "json").stdout == "[]\n")
        broker = json.loads((host.serve_folder / "addresses.json").read_text())["broker_url"]
        _await("Valkey answers", lambda: _answers(broker))
        assert send(host.port, [instance("1.2.3")]) == [0x0000]
        _await("the study is in the database", lambda: host.call("why", "1.2.3").returncode == 0)
    finally:
        served.send_signal(signal.SIGTERM)
        served.communicate(timeout=90)
    assert served.returncode == 0
    said = host.said.read_text()
    assert "Postgres ended and is started again" in said
    assert "Valkey ended and is started again" in said


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for the children")
def test_serve_outlives_a_restart_that_fails_and_tries_again(tmp_path: Path) -> None:
    host = Host(tmp_path / "unwritable")
    served = host.serve()
    try:
        log = host.serve_folder / "valkey" / "valkey.log"
        log.unlink()
        log.mkdir()
        before = _child(served.pid, "valkey")
        assert before is not None
        os.kill(before, signal.SIGKILL)
        _await("the reason", lambda: "Is a directory" in host.said.read_text())
        log.rmdir()
        _await("another valkey", lambda: _child(served.pid, "valkey") not in (None, before))
    finally:
        served.send_signal(signal.SIGTERM)
        served.communicate(timeout=90)
    assert served.returncode == 0
