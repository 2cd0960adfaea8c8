"""Keep the right to send to a destination while its sender lives, and not much longer."""

from typing import Final

import structlog
from sqlalchemy import Engine

from db.delivery import destinations
from db.delivery.destinations import SendingRight
from worker.lease import Heartbeat

log = structlog.get_logger()

# How long a destination pauses after its sender was killed, at most; then the next sweep rings for it.
LEASE_S: Final = 20.0
# A sender that goes on for this long without a sign of life hangs: every wait on a peer is shorter.
_SILENCE_S: Final = 300.0


class RightLost(Exception):
    """Another process sends to this destination now."""


class RightKeeper(Heartbeat):
    """Renews a sending right as long as its sender shows that it lives."""

    def __init__(self, engine: Engine, right: SendingRight) -> None:
        super().__init__(lease_s=LEASE_S, limit_s=_SILENCE_S)
        self._engine = engine
        self._right = right

    def renew(self) -> bool:
        with self._engine.begin() as connection:
            return destinations.renew(connection, self._right, lease_s=self._lease_s)

    def on_deadline(self) -> None:
        log.error("sender_hangs", destination=self._right.destination)

    def keep(self) -> None:
        """A sign of life. Raises ``RightLost``."""
        self.restart_deadline()
        if not self.renew():
            raise RightLost
