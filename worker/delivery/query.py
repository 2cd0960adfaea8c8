"""Query a destination for objects, with a pause after a query that it did not answer."""

from collections.abc import Sequence
from typing import Final

import structlog
from sqlalchemy import Engine

from db.delivery import destinations
from db.delivery.deliveries import DueDelivery
from db.delivery.destinations import SendingRight
from worker.delivery.client import ArchiveClient, Unanswered

log = structlog.get_logger()

# Some archives accept queries and answer none; each costs a timeout, and often the association.
QUERY_PAUSE_S: Final = 3600.0


class Queries:
    """Queries to one destination by the holder of its sending right."""

    def __init__(self, engine: Engine, right: SendingRight) -> None:
        self._engine = engine
        self._right = right

    def present(self, client: ArchiveClient, objects: Sequence[DueDelivery]) -> frozenset[str]:
        """As ``ArchiveClient.present``. Raises ``Unanswered`` at once for an hour after a timeout."""
        if self.paused():
            raise Unanswered('it leaves queries unanswered; with find = "off" it is not asked')
        try:
            return client.present(objects)
        except Unanswered as unanswered:
            log.warning("query_unanswered", destination=self._right.destination, why=str(unanswered))
            with self._engine.begin() as connection:
                destinations.pause_queries(connection, self._right, for_s=QUERY_PAUSE_S)
            raise

    def paused(self) -> bool:
        """True while no query is sent because the last one timed out."""
        with self._engine.begin() as connection:
            return destinations.query_pause_s(connection, self._right.destination) > 0
