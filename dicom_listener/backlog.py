"""How far the rows are behind the spool: what came and is not recorded yet, by peer."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from neurotriage.core.reception import Sender

# A study waits for a file of a peer that has sent nothing of it no longer than this.
OTHER_PEER_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Backlog:
    """All times are by the clock of this host, by which the spool is dated."""

    seen_until: datetime  # what came before was seen when the spool was looked at
    oldest: Mapping[Sender, datetime]  # by peer, when the oldest file came that was seen and is not recorded

    def behind_s(self, peers: Set[Sender], now: datetime) -> float:
        """For how long before ``now`` the rows do not tell whether an instance came from one of ``peers``.

        Nobody knows what an unread file belongs to. It is taken to belong to the studies of its peer; to
        others it may belong as well, but they do not wait long for it.
        """
        ages_s = [
            age_s if peer in peers else min(age_s, OTHER_PEER_S)
            for peer, came_at in self.oldest.items()
            for age_s in ((now - came_at).total_seconds(),)
        ]
        return max(0.0, (now - self.seen_until).total_seconds(), *ages_s)
