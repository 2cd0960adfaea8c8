"""How far the database is behind the spool, by peer."""

import time
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from neurotriage.core.reception import Sender

# A study waits no longer than this for unread files of peers that sent none of its instances.
OTHER_PEER_S: Final = 1.0
_TELL_EVERY_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Backlog:
    """Files received and not recorded. Times are by the clock of this host, as in the names of the spool."""

    listed_until: datetime  # files that arrived before were in the last listing of the spool
    oldest: Mapping[Sender, datetime]  # by peer: arrival of the oldest listed file that is not recorded

    def behind_s(self, peers: Set[Sender], now: datetime) -> float:
        """Seconds before ``now`` for which instances from ``peers`` may have arrived and not be recorded.

        The study of an unread file is not known. It most likely belongs to a study of its peer; studies of
        others wait for it no longer than ``OTHER_PEER_S``.
        """
        ages_s = [
            age_s if peer in peers else min(age_s, OTHER_PEER_S)
            for peer, arrived_at in self.oldest.items()
            for age_s in ((now - arrived_at).total_seconds(),)
        ]
        return max(0.0, (now - self.listed_until).total_seconds(), *ages_s)


class LatestBacklog:
    """How far recording is behind the spool, as ingest last said it to others.

    An older answer errs on the safe side: what was recorded since counts as unrecorded, and what came since
    is younger than the listing.
    """

    def __init__(self) -> None:
        self._latest: Backlog | None = None
        self._told_at = 0.0

    def tell(self, backlog: Callable[[], Backlog]) -> None:
        """Keep a new answer, a few times a second."""
        if time.monotonic() - self._told_at >= _TELL_EVERY_S:
            self._latest, self._told_at = backlog(), time.monotonic()

    def __call__(self) -> Backlog | None:
        """None before ingest has listed the spool for the first time: nothing is certain then."""
        return self._latest
