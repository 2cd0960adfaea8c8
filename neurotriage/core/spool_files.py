"""The files of spools: names that tell when writing began, and what lies in a folder."""

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

_TIME_DIGITS: Final = 20  # of a name: nanoseconds since 1970


def new_name() -> str:
    """A name that nobody else has; names sort by the time at which writing began."""
    return f"{time.time_ns():0{_TIME_DIGITS}d}-{uuid4().hex}"


def written_at(path: Path) -> datetime:
    """When writing of a spooled file began, by its name; 1970 where the name is not one of ours."""
    digits = path.name.partition("-")[0]
    is_ours = len(digits) == _TIME_DIGITS and digits.isascii() and digits.isdigit()
    return datetime.fromtimestamp(int(digits) / 1e9 if is_ours else 0.0, UTC)


def names_in(folder: Path) -> list[str]:
    """The names in a folder, in any order; none where there is no such folder, or it is closed to us."""
    try:
        return os.listdir(folder)  # noqa: PTH208 - to make a path takes several times as long
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
