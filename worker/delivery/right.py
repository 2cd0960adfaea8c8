"""Renews the right to send to a destination for as long as its sender makes progress."""

from typing import Final

import structlog
from sqlalchemy import Engine

from db.delivery import destinations
from db.delivery.destinations import SendingRight
from worker.lease import Heartbeat

log = structlog.get_logger()

# A destination pauses at most this long after its sender was killed; then the next sweep wakes another.
LEASE_S: Final = 20.0
# A sender that makes no progress for this long hangs: every wait for a peer is shorter.
_SILENCE_S: Final = 300.0


class RightLost(Exception):
    """Another process sends to this destination now."""


class SendingRightKeeper(Heartbeat):
    """Renews a sending right in the background as long as its sender calls ``keep``."""

    def __init__(self, engine: Engine, right: SendingRight) -> None:
        super().__init__(lease_s=LEASE_S, limit_s=_SILENCE_S)
        self._engine = engine
        self._right = right

    def renew(self) -> bool:
        with self._engine.begin() as connection:
            return destinations.renew(connection, self._right, lease_s=self._lease_s)

    def on_deadline(self) -> None:
        log.error("sender_stalled", destination=self._right.destination)

    def keep(self) -> None:
        """Report progress and renew the right. Raises ``RightLost``."""
        self.restart_deadline()
        if not self.renew():
            raise RightLost
