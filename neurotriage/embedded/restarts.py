"""When a process that ended may be started again: one that ends at its start must not keep the host busy."""

from typing import Final

_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 30.0
_STEADY_S: Final = 300.0  # after running for so long, the next restart is immediate again


class Restarts:
    """At once the first time; then the wait from start to start doubles, up to half a minute."""

    def __init__(self) -> None:
        self._started: dict[str, tuple[float, float]] = {}  # by role: when, and the wait before the next

    def due(self, role: str, now_s: float) -> bool:
        """Whether to start a role that has ended, by a monotonic clock; if so, notes the start."""
        before = self._started.get(role)
        if before is None or now_s - before[0] >= _STEADY_S:
            self._started[role] = now_s, _FIRST_WAIT_S
            return True
        started_s, wait_s = before
        if now_s - started_s < wait_s:
            return False
        self._started[role] = now_s, min(2 * wait_s, _LONGEST_WAIT_S)
        return True
