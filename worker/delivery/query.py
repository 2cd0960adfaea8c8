"""Ask a destination what it has, unless it lately left a query unanswered."""

from collections.abc import Sequence
from typing import Final

import structlog
from sqlalchemy import Engine

from db import deliveries
from db.deliveries import DueDelivery, SendingRight
from worker.delivery.client import ArchiveClient, Unanswered

log = structlog.get_logger()

# Some archives accept queries and serve none; each costs the wait, and often the association.
SILENCE_S: Final = 3600.0


class Queries:
    """The queries to one destination, under its right."""

    def __init__(self, engine: Engine, right: SendingRight) -> None:
        self._engine = engine
        self._right = right

    def look(self, peer: ArchiveClient, objects: Sequence[DueDelivery]) -> frozenset[str]:
        """As ``Peer.present``; asks nothing for an hour after a query that was not answered."""
        if self.are_silent():
            raise Unanswered('it leaves queries unanswered; with find = "off" it is not asked')
        try:
            return peer.present(objects)
        except Unanswered as unanswered:
            log.warning("query_unanswered", destination=self._right.destination, why=str(unanswered))
            with self._engine.begin() as connection:
                deliveries.ask_nothing(connection, self._right, for_s=SILENCE_S)
            raise

    def are_silent(self) -> bool:
        """True while the destination is asked nothing."""
        with self._engine.begin() as connection:
            return deliveries.silence_s(connection, self._right.destination) > 0
