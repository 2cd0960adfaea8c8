"""Moves files that cannot be recorded into quarantine, with a reason, so that they stop no others."""

import errno
from collections import Counter
from pathlib import Path
from typing import Final, Literal

import structlog
from sqlalchemy import Engine

from db import refusals, retention
from db.engine import is_unfit_value, outage_as_unavailable
from dicom_listener.spool import read_received
from neurotriage.core.errors import Unavailable
from neurotriage.core.reception import Reception
from neurotriage.core.settings import StorageSettings
from neurotriage.core.storage import Storage, make_private, sync_folder
from neurotriage.core.values import Reason, ReasonCode
from neurotriage.dicom.peer_text import peer_text

log = structlog.get_logger()

QuarantinedKind = Literal["instance", "report", "note"]

# An error of ours may be temporary: the file gets a second try.
_ATTEMPTS: Final = 2
# The folder is added up again after so many files: others set aside, and people delete.
_ADD_UP_EVERY: Final = 100
_REASON_LIMIT: Final = 300
MAX_BYTES: Final = StorageSettings().max_quarantine_bytes
# Errors of the disk or the system, for which no file is to blame.
_SURROUNDINGS: Final = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO)
)


class Quarantine:
    """The quarantine folder with its rows, and the count of failures by file name."""

    def __init__(self, engine: Engine, storage: Storage, max_bytes: int = MAX_BYTES) -> None:
        self._engine = engine
        self._storage = storage
        self._max_bytes = max_bytes
        self._failures: Counter[str] = Counter()
        self._added = _ADD_UP_EVERY  # files since the folder was added up
        self._total_bytes = 0

    def set_aside(self, kind: QuarantinedKind, path: Path, reason: Reason, reception: Reception) -> None:
        """Move a spooled file into quarantine and record it. Idempotent.

        Raises ``Unavailable`` while Postgres or the disk fails.
        """
        place = self._storage.quarantine / path.name
        bounded = Reason(reason.code, peer_text(reason.text, _REASON_LIMIT))
        with outage_as_unavailable(), self._engine.begin() as connection:
            where = str(place.relative_to(self._storage.root))
            refusals.quarantine(connection, path.name, where, bounded, reception, kind=kind)
        try:
            make_private(place.parent)
            path.replace(place)
            sync_folder(place.parent)
            sync_folder(path.parent)
        except FileNotFoundError:  # removed by hand
            log.error("spooled_file_missing", name=path.name)
        except OSError as error:
            raise Unavailable(f"storage: {error.strerror}") from error
        self._failures.pop(path.name, None)
        log.warning("quarantined", kind=kind, name=path.name, code=reason.code)
        self._bound(place)

    def _bound(self, newest: Path) -> None:
        """Delete the oldest files above ``max_bytes``; their rows say so.

        What was set aside last stays, and so does what a peer was promised.
        """
        self._added += 1
        self._total_bytes += _size_bytes(newest)
        if self._total_bytes <= self._max_bytes and self._added < _ADD_UP_EVERY:
            return
        sizes = {path: _size_bytes(path) for path in newest.parent.iterdir()}
        self._added, self._total_bytes = 0, sum(sizes.values())
        for path in sorted(sizes, key=lambda path: path.name):  # names begin with the time of arrival
            if self._total_bytes <= self._max_bytes or path == newest:
                return
            with outage_as_unavailable(), self._engine.begin() as connection:
                if retention.promised(connection, {_digest(path)}):
                    continue
                refusals.forget_bytes(connection, path.name)
            path.unlink(missing_ok=True)
            self._total_bytes -= sizes[path]
            log.error("quarantine_full", deleted=path.name, max_quarantine_bytes=self._max_bytes)

    def reason_for(self, name: str, error: Exception) -> Reason | None:
        """Why the file of that name goes into quarantine after ``error``; None: it gets another try.

        Raises ``Unavailable`` where the error is not the file's fault.
        """
        if isinstance(error, Unavailable):
            raise error
        if isinstance(error, OSError) and error.errno in _SURROUNDINGS:
            raise Unavailable(f"storage: {error.strerror}") from error
        if is_unfit_value(error):
            return Reason(ReasonCode.NOT_RECORDED, "it cannot be read, or a value in it fits into no column")
        self._failures[name] += 1
        log.error("recording_failed", name=name, times=self._failures[name], exc_info=error)
        if self._failures[name] < _ATTEMPTS:
            return None
        return Reason(ReasonCode.NOT_RECORDED, f"could not be recorded twice: {type(error).__name__}")

    def forget(self, name: str) -> None:
        """Reset the count of failures of a file that was recorded."""
        self._failures.pop(name, None)


def _digest(path: Path) -> str:
    """That of its data set, as it was computed on the way in; empty where the file does not say it."""
    try:
        return read_received(path).reception.digest
    except OSError:
        return ""


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # somebody has deleted it
        return 0
