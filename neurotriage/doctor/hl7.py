"""Checks of the folder from which merges of patients are taken."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from dicom_listener.hl7.folder import DONE, REFUSED, dropped, refused
from neurotriage.doctor.check import Check, failed, ok, warning

# A file is taken seconds after it came, and up to a minute later where Postgres was away.
_LATE_S: Final = 60
_NS: Final = 1_000_000_000


def look_at_hl7(folder: Path) -> Iterator[Check]:
    """Whether the folder can be used, how many files wait since when, and how many were refused."""
    if not folder.is_dir():
        yield failed("folder", f"{folder} is not there", "Create it, or correct [identity] hl7_folder.")
        return
    ours = (folder, *(folder / name for name in (DONE, REFUSED) if (folder / name).exists()))
    closed = [str(place) for place in ours if not os.access(place, os.R_OK | os.W_OK | os.X_OK)]
    if closed:
        advice = "Give the service's user the right to read it and to write in it: files are moved."
        yield failed("folder", f"{', '.join(closed)} cannot be read and written", advice)
        return
    yield ok("folder", f"{folder} can be read and written")
    yield _waiting(folder)
    yield _refused(folder)


def _waiting(folder: Path) -> Check:
    count, oldest_ns = 0, time.time_ns()
    for file in dropped(folder):
        count, oldest_ns = count + 1, min(oldest_ns, file.mtime_ns)
    if not count:
        return ok("waiting", "no file waits")
    age_s = (time.time_ns() - oldest_ns) // _NS
    said = f"{count} wait, the oldest for {age_s} s"
    if age_s < _LATE_S:
        return ok("waiting", said)
    return warning("waiting", said, "See that `listen` or `serve` runs; its log says what keeps it.")


def _refused(folder: Path) -> Check:
    count = refused(folder)
    if not count:
        return ok("refused", "none was refused")
    advice = "Read the .reason beside each; correct it and drop it again, and delete it there."
    return warning("refused", f"{count} were refused and lie in {folder / REFUSED}", advice)
