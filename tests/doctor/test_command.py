"""All parts together, and the command: a limit for each, an exit code, and no secret."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from neurotriage.cli.setup.doctor import print_table
from neurotriage.core.process.doorbell import celery_app
from neurotriage.core.settings import CONFIG_VARIABLE, environment_of, load_settings
from neurotriage.doctor import State, examine
from neurotriage.doctor.check import Check, Part, Probe, ok
from neurotriage.embedded.process import free_port
from tests.conftest import until
from tests.doctor.looks import Archive, settings


def test_a_part_that_hangs_is_left_and_a_part_with_a_bug_hides_nothing() -> None:
    woken = threading.Event()

    def hangs() -> Iterator[Check]:
        yield ok("first", "seen")
        woken.wait(30)

    def breaks() -> Iterator[Check]:
        yield ok("first", "seen")
        raise ValueError("postgresql://me:hunter2@db")

    hung, broken, fine = examine(
        [Probe("a", 0.3, hangs), Probe("b", 5, breaks), Probe("c", 5, lambda: iter([ok("first", "seen")]))]
    )
    woken.set()
    assert [check.said for check in hung.checks] == ["seen", "no answer within 0.3 s"]
    assert [check.state for check in broken.checks] == [State.OK, State.FAILED]
    assert [part.hangs for part in (hung, broken, fine)] == [True, False, False]
    assert "hunter2" not in repr(broken)
    assert [check.state for check in fine.checks] == [State.OK]


def test_nothing_is_cut_in_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = "1.2.840.10008.5.1.4.1.1.66.7"
    check = Check("seg-labelmap", State.WARNING, "w" * 200, f"Allow it ({uid}) there.")
    monkeypatch.delenv("COLUMNS", raising=False)
    print_table([Part("destination " + "n" * 60, (check,), hangs=False)])
    wide = capsys.readouterr().out
    assert f"({uid})" in wide
    assert "w" * 200 in wide
    monkeypatch.setenv("COLUMNS", "80")
    print_table([Part("destination " + "n" * 60, (check,), hangs=False)])
    narrow = capsys.readouterr().out
    assert "\N{HORIZONTAL ELLIPSIS}" not in narrow
    assert narrow.count("w") >= 200


@pytest.fixture
def site(
    database_url: str, broker_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Archive]:
    """The program's environment names a whole set-up, of which nothing runs but the PACS."""
    (tmp_path / "storage").mkdir()
    with Archive() as archive:
        site = settings(
            listener={"port": free_port()},
            database={"url": database_url},
            broker={"url": broker_url},
            storage={"root": tmp_path / "storage", "min_free_bytes": 0},
            destination=[
                {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": archive.port},
                {"name": "gone", "ae_title": "GONE", "host": "127.0.0.1", "port": free_port()},
            ],
        )
        for name, value in environment_of(site).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv(CONFIG_VARIABLE, "/dev/null")
        monkeypatch.setenv("COLUMNS", "160")
        yield archive


def _doctor(*options: str) -> subprocess.CompletedProcess[str]:
    """The command as a process: it sets up logging for all of it."""
    words = [sys.executable, "-m", "neurotriage", "doctor", *options]
    return subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)


def test_the_command_looks_at_everything_and_fails_where_a_destination_is_gone(site: Archive) -> None:
    answer = _doctor("--json")
    assert answer.returncode == 1, answer.stderr
    parts = {part["name"]: part["checks"] for part in json.loads(answer.stdout)}
    assert list(parts) == [
        "configuration",
        "storage",
        "database",
        "queue",
        "weights",
        "listener",
        "destination pacs",
        "destination gone",
    ]
    failed = {name for name, checks in parts.items() if any(c["state"] == "failed" for c in checks)}
    assert failed == {"queue", "destination gone"}  # no worker runs
    assert all(c["advice"] for checks in parts.values() for c in checks if c["state"] != "ok")
    assert site.stored == {}
    assert answer.stderr == ""


@pytest.fixture
def workers(site: Archive, tmp_path: Path) -> Iterator[None]:
    """An analysis and a delivery worker of the site that answer."""
    running = []
    for role in ("analysis", "delivery"):
        with (tmp_path / f"{role}.log").open("wb") as log:
            words = [sys.executable, "-m", "neurotriage", "work", "--role", role]
            running.append(subprocess.Popen(words, stdout=log, stderr=log))
    app = celery_app(load_settings())

    def answering() -> set[str]:
        return {name.partition("-")[0] for name in app.control.inspect(timeout=1).ping() or {}}

    try:
        until(lambda: answering() == {"analysis", "delivery"}, within_s=120)
        yield
    finally:
        for worker in running:
            worker.terminate()
        for worker in running:
            worker.wait(60)


@pytest.mark.usefixtures("workers")
def test_the_command_looks_at_one_destination_and_succeeds_without_a_failure(site: Archive) -> None:
    answer = _doctor("--destination", "pacs", "--store")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "destination gone" not in answer.stdout
    assert "shown back page" in answer.stdout
    assert len(site.stored) > 1


@pytest.mark.usefixtures("site")
def test_the_command_fails_where_no_worker_answers() -> None:
    answer = _doctor("--destination", "pacs")
    assert answer.returncode == 1
    assert "Start `neurotriage work --role analysis`" in answer.stdout


@pytest.mark.usefixtures("site")
def test_a_destination_that_is_not_configured_is_wrong_usage() -> None:
    answer = _doctor("--destination", "pasc")
    assert answer.returncode == 2
    assert answer.stderr == "no [[destination]] has the name pasc\n"


@pytest.mark.usefixtures("site")
def test_no_password_is_printed(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    password = make_url(database_url).password
    assert isinstance(password, str)
    monkeypatch.setenv("NEUROTRIAGE__BROKER", '{"url": "redis://:only-password@127.0.0.1:1/0"}')
    answer = _doctor("--json")
    assert "127.0.0.1:1" in answer.stdout
    for secret in (password, "only-password"):
        assert secret not in answer.stdout + answer.stderr


def test_a_part_that_hangs_does_not_take_the_exit_code_with_it(site: Archive) -> None:
    """A thread in the middle of a library would make the interpreter wait, or abort."""
    script = (
        "import neurotriage.doctor as d\n"
        "from neurotriage.cli import main\n"
        "def stuck(_):\n"
        "    import torch\n"
        "    while True:\n"
        "        yield from () if (torch.ones(400, 400) @ torch.ones(400, 400)).any() else ()\n"
        "d.look_at_weights, d._WEIGHTS_LIMIT_S = stuck, 0.01\n"
        "main()\n"
    )
    words = [sys.executable, "-c", script, "doctor", "--destination", "pacs"]
    answer = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)
    assert answer.returncode == 1, answer.stderr
    assert "no answer within 0.01 s" in answer.stdout
    assert site.stored == {}
