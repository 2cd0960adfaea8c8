"""Chooses the next file to read: peers take turns, however many files each of them sends."""

from collections import Counter, deque
from pathlib import Path

from neurotriage.core.reception import Sender


class FairQueue:
    """The files to be read, by peer; those of one peer in order of arrival."""

    def __init__(self) -> None:
        self._queues: dict[Sender, deque[Path]] = {}

    def add(self, peer: Sender, path: Path) -> None:
        self._queues.setdefault(peer, deque()).append(path)

    def take(self, reading: Counter[Sender], slow: Counter[Sender], readers: int) -> Path | None:
        """Remove and return the next file; None where every waiting peer has its share of the readers.

        A peer has at most one reader less than there are, one less again for each of its slow files, but
        always one. ``reading``, ``slow``: numbers of files of each peer that are being read now.
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
