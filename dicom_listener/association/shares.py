"""Places that are few, shared so that nobody who is listed can be kept out by another."""

from collections import Counter
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

_Holder = TypeVar("_Holder", bound=Hashable)


class Shares(Generic[_Holder]):
    """Each holder has places that are its own; the rest goes to whoever comes first.

    Half of all places are divided equally and kept free for their holders; where there are more holders than
    places, none is kept.
    """

    def __init__(self, places: int, holders: Iterable[_Holder]) -> None:
        self.places = places
        self._holders = tuple(dict.fromkeys(holders))
        count = len(self._holders)
        self.guaranteed = 0 if count > places or count < 2 else max(1, places // (2 * count))

    def admits(self, holder: _Holder, held: Counter[_Holder]) -> bool:
        """Whether one more place may go to ``holder``, given how many each holds."""
        kept = sum(max(0, self.guaranteed - held[other]) for other in self._holders if other != holder)
        return held.total() + kept < self.places
