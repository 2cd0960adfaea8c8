"""The files of spool folders in order of arrival."""

import os
from collections.abc import Collection, Iterable
from pathlib import Path


def by_arrival(folders: Iterable[Path], suffix: str, known: Collection[str] = ()) -> list[Path]:
    """The files of a kind whose names are not ``known``; a folder that is missing holds none.

    Names begin with the time at which writing began.
    """
    # A path is made of new names alone: to make one takes several times as long as to list it.
    found = [
        (name, folder)
        for folder in folders
        for name in names_in(folder)
        if name.endswith(suffix) and name not in known
    ]
    return [folder / name for name, folder in sorted(found)]


def names_in(folder: Path) -> list[str]:
    """The names in a folder, in any order; none where there is no such folder, or it is closed to us."""
    try:
        return os.listdir(folder)  # noqa: PTH208 - as above
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
