"""A pull dies before each statement that moves an image or a line on, five times each."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from dicom_listener.spool import Spool
from dicom_listener.spool.incoming import Incoming
from neurotriage.core.settings import Settings
from neurotriage.core.storage import Storage, atomic_write
from neurotriage.pull import run
from neurotriage.pull.lines import LineState, PullReport
from neurotriage.pull.pace import Pace, SystemClock
from neurotriage.pull.sources import SPOOL, opened
from tests.killed import CONTEXT, die_before, run_until_it_dies
from tests.pull.conftest import STUDIES, Archive, uids_of

pytestmark = pytest.mark.scenario

KILLS: Final = 5
LINES: Final = [accession for accession, _ in STUDIES.values()]
CONTEXT.set_forkserver_preload([__name__])

Received = Callable[[str], set[str]]

PLACES: dict[str, tuple[Callable[..., Any], str]] = {
    "an image is synced": (Incoming.commit, "os.fsync"),
    "an image gets its name": (Incoming.commit, "self._temporary.rename"),
    "an image is durable": (Incoming.commit, "return"),
    "a study is fetched": (run._end, "images"),
    "its line is written": (run.pull, "report.write"),
    "the report is synced": (atomic_write, "os.fsync"),
    "the report gets its name": (atomic_write, "temporary.replace"),
    "the line is told": (run.pull, "on_line(result"),
}


def _pull(settings: Settings, report: Path, place: tuple[Callable[..., Any], str] | None) -> None:
    if place is not None:
        die_before(*place, 1)
    spool = Spool(Storage(settings.storage.root), SPOOL, min_free_bytes=0)
    spool.recover()
    kept = PullReport(report)
    with opened(settings, "orthanc", spool, get=True) as source:
        pace = Pace(settings.pull, SystemClock())
        run.pull(source, "AccessionNumber", kept.open_lines(LINES), kept, pace, lambda _: None)
    spool.close()


@pytest.mark.parametrize("name", PLACES)
def test_a_pull_killed_before_a_statement_ends_with_every_image_and_line(
    orthanc_archive: Archive, settings: Settings, tmp_path: Path, received: Received, name: str
) -> None:
    report = tmp_path / "report.csv"
    for kill in range(KILLS):
        run_until_it_dies(_pull, settings, report, PLACES[name])
        if kill < KILLS - 1:
            report.unlink(missing_ok=True)  # or the lines would be at their end before the kills are
    _pull(settings, report, None)
    states = {line: result.state for line, result in PullReport(report).results.items()}
    assert states == dict.fromkeys(LINES, LineState.DONE)
    assert received(SPOOL) == uids_of(*STUDIES)
    assert not list((settings.storage.root / "spool" / SPOOL / "tmp").iterdir())
