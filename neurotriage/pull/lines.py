"""The list of what is to be pulled, and the report of what became of each line."""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from io import StringIO
from pathlib import Path
from typing import Final, Literal

from neurotriage.core.errors import SetupError
from neurotriage.core.storage import atomic_write

Key = Literal["AccessionNumber", "StudyInstanceUID"]

_COLUMNS: Final = ("line", "state", "images", "expected", "detail", "at")
_MAX_LINES: Final = 100_000
_LIST_LIMIT_BYTES: Final = 16 << 20
_UID: Final = re.compile(r"[0-9.]{1,64}", re.ASCII)
_ACCESSION_LIMIT: Final = 16  # PS3.5 6.2, VR SH
_WILDCARDS: Final = frozenset("*?\\")


class LineState(StrEnum):
    """What became of a line."""

    DONE = "done"  # every image that the archive counts
    PARTLY = "partly"
    NOT_FOUND = "not found"
    FAILED = "failed"  # tried again by the next run


@dataclass(frozen=True, slots=True)
class LineResult:
    """The end of a line: ``images`` came, of those ``expected`` by the archive (None: it does not count)."""

    line: str
    state: LineState
    images: int = 0
    expected: int | None = None
    detail: str = ""
    at: str = ""

    @property
    def text(self) -> str:
        """The result as a line for a terminal."""
        count = f"{self.images}" if self.expected is None else f"{self.images} of {self.expected}"
        said = f" ({count} images)" if self.state in (LineState.DONE, LineState.PARTLY) else ""
        return f"{self.line}  {self.state}{said}{f': {self.detail}' if self.detail else ''}"


def read_list(path: Path) -> list[str]:
    """The lines of a list, each once; blank ones and comments (#) are left out. Raises ``SetupError``."""
    try:
        with path.open("rb") as file:
            data = file.read(_LIST_LIMIT_BYTES + 1)
        lines = [line.strip() for line in data.decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise SetupError(f"{path}: not UTF-8") from error
    wanted = list(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if not wanted:
        raise SetupError(f"{path}: no line of it names a study")
    if len(data) > _LIST_LIMIT_BYTES or len(wanted) > _MAX_LINES:
        raise SetupError(f"{path}: more than {_MAX_LINES} lines; divide it")
    return wanted


def problem_of(line: str, key: Key) -> str:
    """Why a line cannot be asked for; "" where it can.

    A wildcard (PS3.4 C.2.2.2.4) would match other patients' studies.
    """
    if key == "StudyInstanceUID":
        return "" if _UID.fullmatch(line) else "not a UID: 1 to 64 digits and dots"
    if len(line) > _ACCESSION_LIMIT or set(line) & _WILDCARDS or not line.isprintable():
        return "not an accession number: at most 16 characters, without *, ? and backslash"
    return ""


class PullReport:
    """The CSV file beside a list: a row for each line that has come to an end, written after each.

    Whenever the process is killed, the file is whole. Raises ``SetupError`` where it is not one of ours.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._results: dict[str, LineResult] = _read(path) if path.exists() else {}

    @property
    def results(self) -> Mapping[str, LineResult]:
        return self._results

    def open_lines(self, wanted: Sequence[str]) -> list[str]:
        """The lines without an end; those that failed are among them."""
        ended = {line for line, result in self._results.items() if result.state is not LineState.FAILED}
        return [line for line in wanted if line not in ended]

    def write(self, *results: LineResult) -> None:
        """Add results, durably. Raises ``OSError``."""
        self._results |= {result.line: result for result in results}
        text = StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(_COLUMNS)
        rows.writerows(map(_row, self._results.values()))
        with atomic_write(self._path) as temporary:
            temporary.write_text(text.getvalue(), encoding="utf-8")


def _row(result: LineResult) -> tuple[object, ...]:
    expected = "" if result.expected is None else result.expected
    return result.line, result.state.value, result.images, expected, result.detail, result.at


def _read(path: Path) -> dict[str, LineResult]:
    try:
        rows = list(csv.reader(StringIO(path.read_text(encoding="utf-8"))))
        if not rows or tuple(rows[0]) != _COLUMNS:
            raise ValueError("other columns")
        return {result.line: result for result in map(_result, rows[1:])}
    except ValueError as error:
        raise SetupError(f"{path}: not a report of ours; move it away") from error


def _result(row: Sequence[str]) -> LineResult:
    line, state, images, expected, detail, at = row
    datetime.fromisoformat(at)
    return LineResult(line, LineState(state), int(images), int(expected) if expected else None, detail, at)


def counted(results: Iterable[LineResult]) -> dict[LineState, int]:
    """How many lines ended in each state."""
    states = [result.state for result in results]
    return {state: states.count(state) for state in LineState}
