"""Which study is sent to a destination next: urgent ones first, and nothing starves."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Engine

from db.delivery import deliveries, proof
from db.delivery.deliveries import DueDelivery

# After so many studies, the one that has waited longest comes before more urgent ones.
PATIENCE: Final = 16


class Turns:
    """The order of the studies that are due at one destination, for whoever sends to it."""

    def __init__(self, engine: Engine, address: str) -> None:
        self._engine = engine
        self._address = address
        self._since_oldest = 0  # studies sent since the one that had waited longest

    def due(self) -> list[DueDelivery]:
        """What to send next, the most urgent study first; once in a while the oldest study alone."""
        oldest_first = self._since_oldest >= PATIENCE
        with self._engine.begin() as connection:
            due = deliveries.due(connection, self._address, oldest_first=oldest_first)
        if not oldest_first:
            return due
        self._since_oldest = 0
        return _of_the_first(due)

    def ended(self) -> None:
        """A study was sent, as far as it could be."""
        self._since_oldest += 1

    def passed_to_another(self, delivery: DueDelivery) -> bool:
        """Whether a study that became due meanwhile, or that has waited longest, comes before this one's.

        So it is where nothing is due any more: the destination was paused, or what waited was cancelled.
        """
        if self._since_oldest >= PATIENCE:
            return True
        with self._engine.begin() as connection:
            first = deliveries.due(connection, self._address, limit=1)
        return not first or first[0].priority.rank < delivery.priority.rank

    def unproven(self) -> list[DueDelivery]:
        """The study whose proof is due, of several the most urgent; empty where there is none."""
        with self._engine.begin() as connection:
            return _of_the_first(proof.due(connection, self._address))


def _of_the_first(due: Sequence[DueDelivery]) -> list[DueDelivery]:
    return [delivery for delivery in due if delivery.revision_id == due[0].revision_id]
