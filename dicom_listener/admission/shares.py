"""Fair shares of a limited number of places, so that no holder can keep another out."""

from collections import Counter
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

_Holder = TypeVar("_Holder", bound=Hashable)


class Shares(Generic[_Holder]):
    """Guaranteed places for each holder; the rest is first come, first served.

    Half of all places are divided equally among the holders and reserved; none where there are more holders
    than places, or only one holder.
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
