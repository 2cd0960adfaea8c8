"""Studies pulled from real archives: Orthanc by C-MOVE, C-GET and WADO-RS, dcmqrscp by C-MOVE and C-GET."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dicom_listener.server import Listener
from dicom_listener.spool import Spool
from neurotriage.core.settings import CONFIG_VARIABLE, Settings, environment_of
from neurotriage.core.storage import Storage
from neurotriage.pull.lines import Key, LineResult, LineState, PullReport
from neurotriage.pull.pace import Pace, SystemClock
from neurotriage.pull.run import pull
from neurotriage.pull.source import SourceUnusable
from neurotriage.pull.sources import SPOOL, opened
from tests.conftest import until
from tests.files.conftest import association_ids, ends
from tests.pull.conftest import Archive, uids_of

Received = Callable[[str], set[str]]


@pytest.fixture
def run(settings: Settings, tmp_path: Path) -> Callable[..., dict[str, LineResult]]:
    def run(
        source: str, *lines: str, get: bool = False, key: Key = "AccessionNumber"
    ) -> dict[str, LineResult]:
        report = PullReport(tmp_path / "report.csv")
        spool = Spool(Storage(settings.storage.root), SPOOL, min_free_bytes=0)
        with opened(settings, source, spool, get=get) as archive:
            pull(archive, key, lines, report, Pace(settings.pull, SystemClock()), lambda _: None)
        return dict(report.results)

    return run


Run = Callable[..., dict[str, LineResult]]


def _ends(results: dict[str, LineResult]) -> dict[str, tuple[LineState, int, int | None]]:
    return {line: (result.state, result.images, result.expected) for line, result in results.items()}


def test_orthanc_moves_the_listed_studies_to_our_listener(
    orthanc_archive: Archive, listener: Listener, run: Run, received: Received
) -> None:
    results = run("orthanc", "A1", "A2", "gone")
    assert _ends(results) == {
        "A1": (LineState.DONE, 3, 3),
        "A2": (LineState.DONE, 2, 2),
        "gone": (LineState.NOT_FOUND, 0, None),
    }, results
    assert received("main") == uids_of("1.2.3", "1.2.4")


def test_orthanc_is_read_by_c_get_without_a_listener(
    orthanc_archive: Archive, settings: Settings, run: Run, received: Received
) -> None:
    results = run("orthanc", "A1", "gone", "B7", get=True)
    assert [results[line].state.value for line in ("A1", "gone", "B7")] == ["done", "not found", "done"], (
        results
    )
    assert received(SPOOL) == uids_of("1.2.3", "1.2.5")
    _require_each_study_ended(settings)


def _require_each_study_ended(settings: Settings) -> None:
    """Two studies came, each on an association of its own that was released."""
    spool = Spool(Storage(settings.storage.root), SPOOL, min_free_bytes=0)
    assert [end.released for end in ends(spool)] == [True, True]
    assert {end.association_id for end in ends(spool)} == association_ids(spool)
    assert len(association_ids(spool)) == 2


def test_orthanc_is_read_by_wado_rs(
    orthanc_archive: Archive, settings: Settings, run: Run, received: Received
) -> None:
    results = run("web", "A1", "gone", "B7")
    assert _ends(results) == {
        "A1": (LineState.DONE, 3, 3),
        "gone": (LineState.NOT_FOUND, 0, None),
        "B7": (LineState.DONE, 1, 1),
    }, results
    assert received(SPOOL) == uids_of("1.2.3", "1.2.5")
    _require_each_study_ended(settings)


@pytest.mark.parametrize(("source", "get"), [("orthanc", True), ("web", False)])
def test_studies_are_found_by_their_uid(
    orthanc_archive: Archive, run: Run, received: Received, source: str, get: bool
) -> None:
    results = run(source, "1.2.4", "1.2.99", get=get, key="StudyInstanceUID")
    assert [results[line].state.value for line in ("1.2.4", "1.2.99")] == ["done", "not found"], results
    assert received(SPOOL) == uids_of("1.2.4")


def test_a_listener_that_does_not_run_leaves_the_line_failed(orthanc_archive: Archive, run: Run) -> None:
    assert run("orthanc", "A1")["A1"].state is LineState.FAILED


@pytest.mark.parametrize("get", [False, True])
def test_dcmqrscp_gives_what_it_has_and_a_lost_image_is_told(
    dcmqrscp_archive: Archive,
    listener: Listener,
    settings: Settings,
    run: Run,
    received: Received,
    get: bool,
) -> None:
    spool = SPOOL if get else "main"
    whole = run("dcmqrscp", "A1", "gone", get=get)
    assert [whole[line].state.value for line in ("A1", "gone")] == ["done", "not found"], whole
    assert received(spool) == uids_of("1.2.3")
    lost = next(path for path in dcmqrscp_archive.folder.glob("MR*") if b"1.2.4.1.2" in path.read_bytes())
    lost.unlink()
    partly = run("dcmqrscp", "A2", get=get)["A2"]
    assert (partly.state, partly.images) == (LineState.PARTLY, 1), partly
    assert partly.detail
    if get:  # only the end of the whole study is noted
        assert len(Spool(Storage(settings.storage.root), SPOOL, min_free_bytes=0).ended()) == 1


def test_an_archive_that_does_not_know_us_ends_the_run_with_advice(
    dcmqrscp_archive: Archive, settings: Settings, tmp_path: Path
) -> None:
    listener = settings.listener.model_copy(update={"ae_title": "STRANGER"})
    stranger = settings.model_copy(update={"listener": listener})
    spool = Spool(Storage(settings.storage.root), SPOOL, min_free_bytes=0)
    with opened(stranger, "dcmqrscp", spool, get=False) as archive:
        report, pace = PullReport(tmp_path / "r.csv"), Pace(settings.pull, SystemClock())
        with pytest.raises(SourceUnusable, match="does not know STRANGER"):
            pull(archive, "AccessionNumber", ["A1"], report, pace, lambda _: None)


def test_an_archive_that_is_away_is_a_failed_line_with_its_reason(settings: Settings, run: Run) -> None:
    changed = settings.model_validate(
        {
            **settings.model_dump(),
            "destination": [{"name": "away", "ae_title": "AWAY", "host": "127.0.0.1", "port": 9}],
        }
    )
    spool = Spool(Storage(settings.storage.root), SPOOL, min_free_bytes=0)
    with (
        opened(changed, "away", spool, get=True) as archive,
        pytest.raises(Exception, match="does not answer"),
    ):
        archive.find("AccessionNumber", "A1")


def test_nobody_of_that_name_is_told(settings: Settings) -> None:
    spool = Spool(Storage(settings.storage.root), SPOOL, min_free_bytes=0)
    with (
        pytest.raises(SourceUnusable, match="no \\[\\[destination\\]\\]"),
        opened(settings, "x", spool, get=False),
    ):
        pass


def test_the_command_goes_on_where_it_was_killed(
    orthanc_archive: Archive, settings: Settings, tmp_path: Path, received: Received
) -> None:
    """One study an hour: the first line is done, and the process is killed while it waits for the second."""
    slow = settings.model_copy(update={"pull": settings.pull.model_copy(update={"studies_per_hour": 1.0})})
    (tmp_path / "list").write_text("A1\nA2\ngone\n")
    report = tmp_path / "list.report.csv"
    command = [sys.executable, "-m", "neurotriage", "pull", "--from", "orthanc", "--get"]
    command += ["--accessions", str(tmp_path / "list")]
    first = subprocess.Popen(command, env=_environment(slow))
    until(lambda: report.exists() and len(PullReport(report).results) == 1)
    first.send_signal(signal.SIGKILL)
    first.wait()
    second = subprocess.run(command, env=_environment(settings), capture_output=True, text=True, check=False)
    assert second.stdout.splitlines()[-1] == "2 done, 0 partly, 1 not found, 0 failed", second
    assert second.returncode == 1
    assert "A1" not in second.stdout
    assert "A2  done (2 of 2 images)" in second.stderr + second.stdout
    assert received(SPOOL) == uids_of("1.2.3", "1.2.4")


def _environment(settings: Settings) -> dict[str, str]:
    return {**os.environ, **environment_of(settings), CONFIG_VARIABLE: os.devnull}
