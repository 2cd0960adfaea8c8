"""The two things a newcomer does: see the demo, and stop it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from neurotriage.core.settings import WorkerSettings
from tests.conftest import until
from worker.vision import read_registry

WEIGHTS = WorkerSettings().weights

pytestmark = pytest.mark.scenario


def _start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "neurotriage", *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "NEUROTRIAGE__STORAGE__ROOT": str(cwd / "storage")},
    )


def _left_over(folder: Path) -> list[str]:
    """Command lines of processes that still speak of a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            where = str((process / "cwd").readlink())
        except OSError:
            continue
        if int(process.name) != os.getpid() and (str(folder) in line or where.startswith(str(folder))):
            found.append(line)
    return found


def _read_until(process: subprocess.Popen[str], words: str) -> str:
    assert process.stdout is not None
    read = ""
    for line in process.stdout:
        read += line
        if words in line:
            return read
    raise AssertionError(f"ended without {words!r}:\n{read}")


def test_the_demo_shows_what_came_back_and_leaves_nothing_running(tmp_path: Path) -> None:
    shown = _start("demo", "--output", "out", cwd=tmp_path)
    text, _ = shown.communicate(timeout=280)
    assert shown.returncode == 0, text
    for promise in (
        "56 of 56 instances stored",
        "outcome",
        "received",
        "analysed",
        "study_results",
        "done in",
    ):
        assert promise in text, promise
    entries = json.loads((tmp_path / "out" / "result.json").read_text())
    of_mr, of_ct = (entry["outcome"] for entry in entries)
    assert of_mr == "present"
    assert of_ct in (
        {"present", "undetermined"} if "CT" in read_registry(WEIGHTS).modalities else {"not_eligible"}
    )
    for entry in entries:
        for sentence in entry["summary"]["sentences"]:
            assert sentence["text"] in " ".join(text.split())
    assert text.count("(Text by template)") == len(entries)
    assert "finding boxes lie on the lesion that was put in" in text
    assert list((tmp_path / "out" / "results").glob("*/9901-001.png"))
    assert list((tmp_path / "out" / "results").glob("*/report.txt"))
    assert _left_over(tmp_path) == []


def test_ctrl_c_in_the_demo_leaves_no_process(tmp_path: Path) -> None:
    shown = _start("demo", "--output", "out", cwd=tmp_path)
    _read_until(shown, "are up")
    shown.send_signal(signal.SIGINT)
    text, _ = shown.communicate(timeout=90)
    assert shown.returncode == 130, text
    assert _left_over(tmp_path) == []


def test_serve_starts_a_dead_role_again_and_stops_whole(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[listener]\nport = 0\n[storage]\nmin_free_bytes = 0\n")
    served = _start("serve", cwd=tmp_path)
    _read_until(served, "listening as NEUROTRIAGE")
    listener = next(
        int(process.name) for process in Path("/proc").glob("[0-9]*") if _is_listener_of(process, tmp_path)
    )
    os.kill(listener, signal.SIGKILL)
    _read_until(served, "started again")
    served.send_signal(signal.SIGTERM)
    text, _ = served.communicate(timeout=90)
    assert served.returncode == 0, text
    # The ingester of the listener that was killed learns of it once it has started.
    until(lambda: _left_over(tmp_path) == [], 30)


def _is_listener_of(process: Path, folder: Path) -> bool:
    try:
        line = (process / "cmdline").read_bytes().split(b"\0")
        return b"listen" in line and str((process / "cwd").readlink()).startswith(str(folder))
    except OSError:
        return False
