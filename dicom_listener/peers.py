"""Who may send. A peer is an address and a calling AE title together: a title alone is only a name."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from neurotriage.core.peer_address import address_of_socket, has_address
from neurotriage.core.settings import Peer, Settings


@dataclass(frozen=True, slots=True)
class Rejection:
    """An A-ASSOCIATE-RJ (PS3.8 table 9-21) and the sentence for the log."""

    result: int
    source: int
    diagnostic: int
    why: str


CALLED_UNKNOWN: Final = Rejection(1, 1, 7, "called AE title is not ours")
CALLING_UNKNOWN: Final = Rejection(1, 1, 3, "no [[peer]] has this address and calling AE title")
LIMIT_EXCEEDED: Final = Rejection(2, 3, 2, "[listener] max_associations reached")
NO_REASON: Final = Rejection(2, 1, 1, "the request could not be judged")


def rejection(settings: Settings, *, calling: str, called: str, host: str) -> Rejection | None:
    """Why an association must be rejected; None for a peer that may send."""
    if called != settings.listener.ae_title.strip():
        return CALLED_UNKNOWN
    address = address_of_socket(host)
    if not settings.peer:
        local = address.is_loopback and listens_on_loopback(settings.listener.host)
        return None if local else CALLING_UNKNOWN
    return None if _known(settings.peer, calling, address) else CALLING_UNKNOWN


def listens_on_loopback(host: str) -> bool:
    """True where nobody outside this machine can reach the address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _known(peers: Iterable[Peer], calling: str, address: IPv4Address | IPv6Address) -> bool:
    return any(peer.ae_title.strip() == calling and has_address(peer.host, address) for peer in peers)
