"""Counts what was refused before anything was received, so that a flood costs an admin one row and one line.

A refusal is logged at most once in a while per cause and address, and noted in the spool for the database.
"""

import time
from collections.abc import Callable
from typing import Final

import structlog

from dicom_listener.refused_associations import Refusal, RefusedAssociations

log = structlog.get_logger()

# The same refusal again within this time is only counted.
_INTERVAL_S: Final = 1.0
# Refusals told apart at once; a flood from ever other addresses is counted as one.
_MAX_KINDS: Final = 1000
_OTHERS: Final = "(others)"


class Refusals:
    """Not thread-safe. ``note`` gets the refusals that came since the last note."""

    def __init__(
        self, note: Callable[[RefusedAssociations], object], interval_s: float = _INTERVAL_S
    ) -> None:
        self._note = note
        self._interval_s = interval_s
        self._counts: dict[Refusal, int] = {}
        self._told_at: dict[Refusal, float] = {}

    def add(self, event: str, refusal: Refusal) -> None:
        """Log a refusal as ``event``, unless it was logged a moment ago, and count it."""
        if refusal not in self._told_at and len(self._told_at) >= _MAX_KINDS:
            refusal = Refusal.of(refusal.cause, _OTHERS)
        self._counts[refusal] = self._counts.get(refusal, 0) + 1
        now = time.monotonic()
        told_at = self._told_at.get(refusal)
        if told_at is None or now - told_at >= self._interval_s:
            self._told_at[refusal] = now
            log.warning(
                event,
                peer_host=refusal.peer_host,
                calling_ae_title=refusal.calling_ae_title,
                called_ae_title=refusal.called_ae_title,
                reason=refusal.cause,
                times=self._counts[refusal],
            )

    def flush(self) -> None:
        """Note what was counted since the last call."""
        counts, self._counts = self._counts, {}
        now = time.monotonic()
        self._told_at = {r: at for r, at in self._told_at.items() if now - at < self._interval_s}
        if counts:
            self._note(RefusedAssociations(counts))
