"""The list, its report, and how each line ends."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from neurotriage.core.errors import SetupError, Unavailable
from neurotriage.core.settings import PullSettings
from neurotriage.pull.lines import Key, LineResult, LineState, PullReport, counted, problem_of, read_list
from neurotriage.pull.pace import Pace
from neurotriage.pull.run import pull
from neurotriage.pull.source import Fetched, FoundStudy, SourceUnusable
from tests.conftest import until
from tests.pull.test_pace import NOON, VirtualClock

pytestmark = pytest.mark.unit


class Scripted:
    """An archive whose answers are given by line: studies with their images, and what comes of each."""

    def __init__(self, **answers: list[tuple[int | None, int, str]]) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.failures = 0

    def find(self, key: Key, value: str) -> Sequence[FoundStudy]:
        self.asked.append(value)
        if self.failures:
            self.failures -= 1
            raise Unavailable("the archive does not answer")
        return [FoundStudy(f"{value}/{n}", a[0]) for n, a in enumerate(self.answers.get(value, []))]

    def fetch(self, study: FoundStudy) -> Fetched:
        line, _, number = study.study_instance_uid.partition("/")
        _, images, detail = self.answers[line][int(number)]
        return Fetched(images, detail)


def _pulled(source: Scripted, path: Path, *lines: str, **rates: float) -> dict[str, LineResult]:
    report = PullReport(path)
    pace = Pace(PullSettings(retries=2, **rates), VirtualClock(NOON))  # type: ignore[arg-type]
    pull(source, "AccessionNumber", report.open_lines(lines), report, pace, lambda _: None)
    return dict(PullReport(path).results)


def test_each_line_ends_in_a_named_state_with_its_counts(tmp_path: Path) -> None:
    source = Scripted(
        whole=[(3, 3, "")],
        short=[(3, 2, "")],
        refused=[(3, 2, "the archive could not send 1")],
        uncounted=[(None, 5, "")],
        two=[(3, 3, ""), (4, 4, "")],
        nothing=[(3, 0, "")],
    )
    results = _pulled(source, tmp_path / "r.csv", *source.answers, "gone", "A*")
    assert {line: (r.state, r.images, r.expected) for line, r in results.items()} == {
        "whole": (LineState.DONE, 3, 3),
        "short": (LineState.PARTLY, 2, 3),
        "refused": (LineState.PARTLY, 2, 3),
        "uncounted": (LineState.DONE, 5, None),
        "two": (LineState.DONE, 7, 7),
        "nothing": (LineState.FAILED, 0, 3),
        "gone": (LineState.NOT_FOUND, 0, None),
        "A*": (LineState.FAILED, 0, None),
    }
    assert "A*" not in source.asked  # a wildcard would pull the whole archive
    assert counted(results.values())[LineState.DONE] == 3


def test_an_archive_that_is_away_is_tried_again_and_not_for_ever(tmp_path: Path) -> None:
    source = Scripted(a=[(1, 1, "")], b=[(1, 1, "")])
    source.failures = 2
    assert _pulled(source, tmp_path / "r.csv", "a")["a"].state is LineState.DONE
    source.failures = 3
    result = _pulled(source, tmp_path / "r.csv", "b")["b"]
    assert (result.state, result.detail) == (LineState.FAILED, "the archive does not answer")


def test_a_line_that_failed_is_tried_by_the_next_run_and_no_other(tmp_path: Path) -> None:
    source = Scripted(a=[(1, 1, "")], b=[(2, 1, "")], c=[(1, 0, "")])
    _pulled(source, tmp_path / "r.csv", "a", "b", "c", "gone")
    source.asked.clear()
    source.answers["c"] = [(1, 1, "")]
    results = _pulled(source, tmp_path / "r.csv", "a", "b", "c", "gone")
    assert source.asked == ["c"]
    assert results["c"].state is LineState.DONE


def test_an_archive_that_ignores_the_key_is_not_emptied(tmp_path: Path) -> None:
    source = Scripted(a=[(1, 1, "")] * 21)
    assert "more than 20 studies" in _pulled(source, tmp_path / "r.csv", "a")["a"].detail


def test_what_a_person_must_change_ends_the_run_at_once(tmp_path: Path) -> None:
    class Unknown(Scripted):
        def fetch(self, study: FoundStudy) -> Fetched:
            raise SourceUnusable("it does not know NEUROTRIAGE")

    source = Unknown(a=[(1, 1, "")], b=[(1, 1, "")])
    with pytest.raises(SourceUnusable):
        _pulled(source, tmp_path / "r.csv", "a", "b")
    assert source.asked == ["a"]


_KILLED = """
import sys, time
from pathlib import Path
from tests.pull.test_lines import Scripted, _pulled
answers = {f"n{i}": [(1, 1, "")] for i in range(1000)}
_pulled(Scripted(**answers), Path(sys.argv[1]), *answers)
"""


def test_a_run_that_was_killed_leaves_a_whole_report_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    for least in (5, 10, 15, 20, 25):
        process = subprocess.Popen([sys.executable, "-c", _KILLED, str(path)])
        until(lambda least=least: path.exists() and len(PullReport(path).results) >= least)  # type: ignore[misc]
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = len(PullReport(path).results)
    source = Scripted(**{f"n{number}": [(1, 1, "")] for number in range(before + 2)})
    results = _pulled(source, path, *source.answers)
    assert source.asked == [f"n{before}", f"n{before + 1}"]
    assert {result.state for result in results.values()} == {LineState.DONE}


def test_a_list_is_read_without_blanks_comments_and_repetitions(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes("\ufeffA1\r\n\r\n# old\r\n A2 \r\nA1\r\n".encode())
    assert read_list(path) == ["A1", "A2"]
    path.write_text("# nothing\n")
    with pytest.raises(SetupError, match="no line"):
        read_list(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SetupError, match="UTF-8"):
        read_list(path)


def test_a_report_of_somebody_else_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("name,age\n")
    with pytest.raises(SetupError, match="not a report of ours"):
        PullReport(path)


def test_a_report_is_readable_by_its_owner_alone_and_keeps_odd_text(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    result = LineResult('a,"b', LineState.FAILED, 0, None, "line\nbreak, and comma", NOON.isoformat())
    PullReport(path).write(result)
    assert PullReport(path).results == {'a,"b': result}
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("line", ["A*", "A?", "A\\B", "x" * 17, "a\tb"])
def test_a_line_that_is_no_accession_number_is_not_asked_for(line: str) -> None:
    assert problem_of(line, "AccessionNumber")
    assert problem_of(line, "StudyInstanceUID")


def test_a_pull_waits_before_each_line_until_what_came_is_recorded(tmp_path: Path) -> None:
    source, asked_before = Scripted(a=[(1, 1, "")], b=[(1, 1, "")]), []
    report = PullReport(tmp_path / "r.csv")
    pace = Pace(PullSettings(), VirtualClock(NOON))

    def await_room() -> None:
        asked_before.append(list(source.asked))
        if len(asked_before) == 3:
            raise Unavailable("nobody records what came")

    with pytest.raises(Unavailable):
        pull(source, "AccessionNumber", ["a", "b", "c"], report, pace, lambda _: None, await_room)
    assert asked_before == [[], ["a"], ["a", "b"]]
    assert report.open_lines(["a", "b", "c"]) == ["c"]
