"""Takes merges of patients from a folder into the database, each file as a whole and once."""

import time
from heapq import nsmallest
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import Engine

from db.corrections.merges import TooManyStudies, merge
from db.engine import is_unfit_value, outage_as_unavailable
from dicom_listener.hl7 import folder as files
from dicom_listener.hl7.encoding import UnusableMessage
from dicom_listener.hl7.folder import Changed, DroppedFile
from dicom_listener.hl7.message import MergeMessage, parse_merge
from neurotriage.core.errors import Unavailable

log = structlog.get_logger()

# A file is ready when it has not changed for this long, as we see it: the clock of a share may differ.
_SETTLE_S: Final = 3.0
_WATCHED: Final = 1000  # files, the oldest
_AT_ONCE: Final = 50  # files taken in one step
_REASON: Final = "patients were merged (HL7 ADT^A40)"


class MergeDrop:
    """The folder and what was seen in it. Not thread-safe."""

    def __init__(self, engine: Engine, folder: Path, *, settle_s: float = _SETTLE_S) -> None:
        self._engine, self._folder, self._settle_s = engine, folder, settle_s
        self._since: dict[DroppedFile, float] = {}  # monotonic
        self._failed: DroppedFile | None = None

    def step(self) -> int:
        """Take the files that are ready, the oldest first; how many.

        Raises ``Unavailable`` where the folder or Postgres cannot be used now. Any other error is raised the
        first time a file meets it; the second time the file is refused, for others wait behind it.
        """
        try:
            files.prepare(self._folder)
            ready = self._ready()
            for file in ready:
                self._take(file)
            if ready:
                files.prune(self._folder)
        except OSError as error:
            text = f"the HL7 folder {self._folder} cannot be used: {error.strerror}"
            raise Unavailable(text) from error
        return len(ready)

    def _ready(self) -> list[DroppedFile]:
        now = time.monotonic()
        watched = nsmallest(_WATCHED, files.dropped(self._folder))
        self._since = {file: self._since.get(file, now) for file in watched}
        return [file for file in watched if now - self._since[file] >= self._settle_s][:_AT_ONCE]

    def _take(self, file: DroppedFile) -> None:
        try:
            message = parse_merge(files.read(self._folder, file))
            studies = self._apply(file, message)
        except Changed:
            return
        except UnusableMessage as error:
            stamp = files.move(self._folder, file, files.REFUSED, str(error))
            log.warning("merge_refused", file=stamp, reason=str(error))
            return
        # Killed here, the file is taken again, and finds nothing that is left to correct.
        stamp = files.move(self._folder, file, files.DONE)
        log.info(
            "patients_merged",
            file=stamp,
            message=message.control_id,
            merges=len(message.merges),
            studies=studies,
        )

    def _apply(self, file: DroppedFile, message: MergeMessage) -> list[int]:
        """Apply all merges of a message in one transaction; the ids of the corrected studies."""
        made_by = f"HL7 message {message.control_id}"
        try:
            with outage_as_unavailable(), self._engine.begin() as connection:
                return merge(connection, message.merges, made_by=made_by, reason=_REASON)
        except TooManyStudies as error:
            raise UnusableMessage(str(error)) from None
        except Unavailable:
            raise
        except Exception as error:
            if is_unfit_value(error) or file == self._failed:
                raise UnusableMessage(f"it could not be applied: {type(error).__name__}") from error
            self._failed = file
            raise
