"""How far the database is behind the spool, and who is read next."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dicom_listener.backlog import OTHER_PEER_S, Backlog
from dicom_listener.ingest.fair_queue import FairQueue

pytestmark = pytest.mark.unit


NOW = datetime(2026, 1, 2, tzinfo=UTC)
ONE, OTHER = ("ONE", "10.0.0.1"), ("OTHER", "10.0.0.1")


@pytest.mark.parametrize(
    ("waiting_s", "behind_s"),
    [
        ({}, 0.5),  # the spool was looked at half a second ago
        ({ONE: 30.0}, 30.0),
        ({OTHER: 30.0}, OTHER_PEER_S),
        ({OTHER: 0.7}, 0.7),
        ({ONE: 3.0, OTHER: 30.0}, 3.0),
        ({ONE: -5.0}, 0.5),  # the clock was put back
    ],
)
def test_a_study_waits_for_the_files_of_its_own_peers_and_hardly_for_others(
    waiting_s: dict[tuple[str, str], float], behind_s: float
) -> None:
    oldest = {peer: NOW - timedelta(seconds=age_s) for peer, age_s in waiting_s.items()}
    backlog = Backlog(NOW - timedelta(seconds=0.5), oldest)
    assert backlog.behind_s({ONE}, NOW) == pytest.approx(behind_s)


def _take(
    queue: FairQueue, reading: dict[tuple[str, str], int], slow: dict[tuple[str, str], int]
) -> str | None:
    path = queue.take(Counter(reading), Counter(slow), 4)
    return path.name if path else None


def test_peers_are_read_by_turns_and_none_takes_all_readers() -> None:
    queue = FairQueue()
    for number in range(10):
        queue.add(ONE, Path(f"one{number}"))
    queue.add(OTHER, Path("other"))
    assert _take(queue, {}, {}) == "one0"
    assert _take(queue, {ONE: 1}, {}) == "other"
    assert _take(queue, {ONE: 2}, {}) == "one1"
    assert _take(queue, {ONE: 3}, {}) is None
    assert _take(queue, {ONE: 1}, {ONE: 7}) is None
    assert _take(queue, {}, {ONE: 7}) == "one2"
