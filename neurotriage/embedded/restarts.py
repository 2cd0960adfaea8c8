"""When a process that ended may be started again: what ends at its start must not keep the host busy."""

from typing import Final

_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 30.0
_STEADY_S: Final = 300.0  # who ran for so long has a clean slate


class Restarts:
    """At once the first time; then from start to start twice as long each time, half a minute at most."""

    def __init__(self) -> None:
        self._started: dict[str, tuple[float, float]] = {}  # by role: when, and the wait before the next

    def due(self, role: str, now_s: float) -> bool:
        """Whether the role, which has ended, is to be started now, by a monotonic clock. Notes that it is."""
        before = self._started.get(role)
        if before is None or now_s - before[0] >= _STEADY_S:
            self._started[role] = now_s, _FIRST_WAIT_S
            return True
        started_s, wait_s = before
        if now_s - started_s < wait_s:
            return False
        self._started[role] = now_s, min(2 * wait_s, _LONGEST_WAIT_S)
        return True
