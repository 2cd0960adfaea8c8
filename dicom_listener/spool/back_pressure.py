"""Holds back whoever could fill the spools faster than they are recorded: imports and pulls."""

import time
from typing import Final

from dicom_listener.spool.spools import Spooled
from neurotriage.core.errors import Unavailable

# The ingester holds 20,000 files of all spools at most: most of that is left to live senders.
_MAX_SPOOLED: Final = 5000
_LOOK_EVERY_S: Final = 0.5
# An ingester that restarts, or waits for a database that does, is back by then.
_DRAINED_WITHIN_S: Final = 600.0


class BackPressure:
    """Says when more may be spooled. ``spooled``: the spool, or spools, of which all that waits counts."""

    def __init__(self, spooled: Spooled) -> None:
        self._spooled = spooled
        self._room = 0  # files that may be taken before the spool is looked at again

    def taken(self) -> None:
        """Count a file that was spooled."""
        self._room -= 1

    def look(self) -> None:
        """Let ``await_room`` look at the spool: others may have filled it."""
        self._room = 0

    def await_room(self) -> None:
        """Wait until another file may be spooled. Raises ``Unavailable`` where nothing leaves the spool."""
        if self._room > 0:
            return
        least = len(self._spooled.waiting())
        self._room = _MAX_SPOOLED - least
        drained_at = time.monotonic()
        while self._room <= 0:
            if time.monotonic() - drained_at > _DRAINED_WITHIN_S:
                raise Unavailable(
                    f"nobody records what came: {least} instances wait in the spool. Start `neurotriage"
                    " listen` or `neurotriage serve`, then call this again: it goes on from there"
                )
            time.sleep(_LOOK_EVERY_S)
            waiting = len(self._spooled.waiting())
            if waiting < least:
                least, drained_at = waiting, time.monotonic()
            self._room = _MAX_SPOOLED - waiting
