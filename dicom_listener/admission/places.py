"""Counts connections and associations, so that no host keeps another out.

Connections beyond the limit of associations are served, to hear why they are rejected. Those of unknown
addresses take no places of peers.
"""

from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Final

from dicom_listener.admission.shares import Shares

# Connections beyond ``max_associations``; one address may take half of them.
SPARE_CONNECTIONS: Final = 32
# A few of unknown addresses are accepted, to be rejected with a reason.
STRANGER_CONNECTIONS: Final = 8
CONNECTIONS_PER_STRANGER: Final = 4
# Connections within their TLS handshake, which ends soon: behind a translated address all peers look alike.
HANDSHAKES: Final = 256
HANDSHAKES_PER_ADDRESS: Final = 64

STRANGER: Final = "no [[peer]] has this address"
CROWDED: Final = "too many connections from there"


@dataclass(frozen=True, slots=True)
class _Place:
    address: str
    holder: Hashable | None  # None for a stranger
    in_handshake: bool


class Places:
    """The places of connections.

    ``holders``: the configured hosts and certificates of peers. ``many_strangers``: peers may come from any
    address, and are known after their TLS handshake alone.
    """

    def __init__(
        self, max_associations: int, holders: Iterable[Hashable], *, many_strangers: bool = False
    ) -> None:
        self._many_strangers = many_strangers
        self._shares: Shares[Hashable] = Shares(max_associations + SPARE_CONNECTIONS, holders)
        self._taken: dict[Hashable, _Place] = {}

    def __len__(self) -> int:
        return len(self._taken)

    def enter(
        self, key: Hashable, address: str, holder: Hashable | None, *, in_handshake: bool
    ) -> str | None:
        """Take a place for the connection ``key``; else why there is none for it."""
        place = _Place(address, holder, in_handshake)
        why = self._in_handshake(place) if in_handshake else self._connected(place)
        if why is None:
            self._taken[key] = place
        return why

    def finish_handshake(self, key: Hashable, holder: Hashable | None) -> str | None:
        """Exchange the place of a handshake for one of ``holder``; else why there is none (it is left)."""
        place = self._taken.pop(key, None)
        if place is None:
            return CROWDED  # it has ended meanwhile
        return self.enter(key, place.address, holder, in_handshake=False)

    def leave(self, key: Hashable) -> None:
        """Give the place back; harmless where there is none."""
        self._taken.pop(key, None)

    def _in_handshake(self, new: _Place) -> str | None:
        """Those of unknown addresses take no places of listed ones here, either."""
        strange = new.holder is None
        others = [
            place
            for place in self._taken.values()
            if place.in_handshake and (place.holder is None) == strange
        ]
        from_address = sum(place.address == new.address for place in others)
        if strange and not self._many_strangers:
            room = len(others) < STRANGER_CONNECTIONS and from_address < CONNECTIONS_PER_STRANGER
            return None if room else STRANGER
        room = len(others) < HANDSHAKES and from_address < HANDSHAKES_PER_ADDRESS
        return None if room else CROWDED

    def _connected(self, new: _Place) -> str | None:
        others = [
            place
            for place in self._taken.values()
            if not place.in_handshake and (place.holder is None) == (new.holder is None)
        ]
        from_address = sum(place.address == new.address for place in others)
        if new.holder is None:
            room = len(others) < STRANGER_CONNECTIONS and from_address < CONNECTIONS_PER_STRANGER
            return None if room else STRANGER
        held = Counter(place.holder for place in others)
        limit = self._shares.places - SPARE_CONNECTIONS // 2
        return None if from_address < limit and self._shares.admits(new.holder, held) else CROWDED
