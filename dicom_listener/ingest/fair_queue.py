"""Whose file is read next: the peers by turns, however many files each of them sends."""

from collections import Counter, deque
from pathlib import Path

from neurotriage.core.reception import Sender


class Turns:
    """The files that wait to be read, by peer; those of one peer in the order in which they came."""

    def __init__(self) -> None:
        self._queues: dict[Sender, deque[Path]] = {}

    def add(self, peer: Sender, path: Path) -> None:
        self._queues.setdefault(peer, deque()).append(path)

    def take(self, reading: Counter[Sender], slow: Counter[Sender], readers: int) -> Path | None:
        """The next file; None where there is none, or its peer has its share of the readers.

        One reader is always left to others, and a peer whose files are slow has one reader for each of them
        less, but not none. ``reading``, ``slow``: files of each peer that are being read now.
        """
        shares = {
            peer: max(1, readers - 1 - slow[peer]) - reading[peer]
            for peer, queue in self._queues.items()
            if queue
        }
        free = [peer for peer, share in shares.items() if share > 0]
        if not free:
            return None
        peer = min(free, key=lambda peer: (reading[peer], self._queues[peer][0].name))
        path = self._queues[peer].popleft()
        if not self._queues[peer]:
            del self._queues[peer]
        return path
