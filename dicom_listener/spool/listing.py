"""The files of spool folders in order of arrival."""

from collections.abc import Collection, Iterable
from pathlib import Path

from neurotriage.core.spool_files import names_in


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
