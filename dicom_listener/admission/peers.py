"""Who may send: a calling AE title with an address, a certificate or both. A title alone is only a name."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dicom_listener.admission.tls import PeerCertificate, is_certificate_of
from neurotriage.core.settings import Peer, Settings
from neurotriage.dicom.addresses import (
    Address,
    address_of_socket,
    addresses_of,
    has_address,
    is_name,
)

_LOOKUP_INTERVAL_S: Final = 5.0
_FIRST_LOOKUP_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Rejection:
    """An A-ASSOCIATE-RJ (PS3.8 table 9-21) and the sentence for the log."""

    result: int
    source: int
    diagnostic: int
    why: str


PERMANENT: Final = 1

CALLED_UNKNOWN: Final = Rejection(
    1, 1, 7, "the called AE title is not [listener] ae_title, nor in [[listener.called]]"
)
CALLED_BY_OTHERS: Final = Rejection(
    1, 1, 3, "the [[listener.called]] of this called AE title does not list this calling AE title"
)
ADDRESS_UNKNOWN: Final = Rejection(1, 1, 3, "no [[peer]] has this address")
TITLE_UNKNOWN: Final = Rejection(1, 1, 3, "a [[peer]] has this address, but none with this calling AE title")
CERTIFICATE_UNKNOWN: Final = Rejection(
    1, 1, 3, "the [[peer]] with this calling AE title is bound to another certificate than was shown"
)
NO_PEERS: Final = Rejection(1, 1, 3, "there is no [[peer]]: only this host may send, to a loopback address")
CALLED_UNREADABLE: Final = Rejection(1, 1, 7, "the called AE title is empty or not made of printable ASCII")
CALLING_UNREADABLE: Final = Rejection(1, 1, 3, "the calling AE title is empty or not made of printable ASCII")
LIMIT_EXCEEDED: Final = Rejection(2, 3, 2, "[listener] max_associations reached")
SHARE_EXCEEDED: Final = Rejection(
    2, 3, 2, "this [[peer]] has its share of [listener] max_associations; the rest is kept for the others"
)
PEER_LIMIT_EXCEEDED: Final = Rejection(2, 3, 2, "the max_associations of this [[peer]] is reached")
QUOTA_EXCEEDED: Final = Rejection(2, 3, 2, "the max_bytes_per_day of this [[peer]] is reached")
NO_REASON: Final = Rejection(2, 1, 1, "the request could not be judged")

# Stands for any sender on this host where no [[peer]] is configured.
LOCAL: Final = Peer.model_construct(ae_title="", host="loopback", port=None)


def sender(
    settings: Settings,
    *,
    calling: str,
    called: str,
    host: str,
    certificate: PeerCertificate | None = None,
    is_at: Callable[[str, Address], bool] = has_address,
) -> Peer | Rejection:
    """The ``[[peer]]`` of an association, or why it must be rejected.

    ``host``: address of the socket; ``certificate``: what the peer has shown on a port with TLS. Whether
    a configured host has an address is asked of ``is_at``; by default names are resolved, in seconds.
    """
    refused = _called(settings, calling, called)
    if refused is not None:
        return refused
    address = address_of_socket(host)
    if not settings.peer:
        return LOCAL if _local(settings, address) else NO_PEERS
    titled = [peer for peer in settings.peer if peer.ae_title.strip() == calling]
    there = [peer for peer in titled if not peer.host or is_at(peer.host, address)]
    if there:
        proven = (peer for peer in there if is_certificate_of(peer, certificate))
        return next(proven, CERTIFICATE_UNKNOWN)
    at_address = any(is_at(peer.host, address) for peer in settings.peer if peer.host)
    return TITLE_UNKNOWN if at_address else ADDRESS_UNKNOWN


def _called(settings: Settings, calling: str, called: str) -> Rejection | None:
    """Whether an AE title of ours is called, and by whom it may be."""
    if called == settings.listener.ae_title.strip():
        return None
    title = next((t for t in settings.listener.called if t.ae_title.strip() == called), None)
    if title is None:
        return CALLED_UNKNOWN
    listed = not title.calling or calling in {other.strip() for other in title.calling}
    return None if listed else CALLED_BY_OTHERS


def rejection(settings: Settings, *, calling: str, called: str, host: str) -> Rejection | None:
    """Why an association must be rejected; None where it may be accepted."""
    answer = sender(settings, calling=calling, called=called, host=host)
    return answer if isinstance(answer, Rejection) else None


def _local(settings: Settings, address: Address) -> bool:
    return address.is_loopback and settings.listener.is_loopback


def report_host(peer: Peer, host: str) -> str:
    """Where we reach a peer that came from the address ``host``: as configured; if that is a network, there.

    Empty where the configuration does not say it: a peer without a port, or with a certificate alone.
    """
    if peer.port is None or not peer.host:
        return ""
    return str(address_of_socket(host)) if "/" in peer.host else peer.host


class ListedHosts:
    """Maps addresses to ``[[peer]]`` hosts without waiting: names are resolved by a thread.

    Each connection is checked before it costs a thread. A changed address of a name is known a few seconds
    later; until then its connections count as those of strangers, and ``sender`` decides.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        listed = dict.fromkeys(peer.host for peer in settings.peer if peer.host)
        self.hosts = tuple(listed) if settings.peer else (LOCAL.host,)
        self._names = tuple(host for host in self.hosts if settings.peer and is_name(host))
        self._addresses: dict[str, frozenset[Address]] = {}
        self._looked_up = threading.Event()
        self._closed = threading.Event()

    def start(self) -> None:
        """Start to resolve names; wait up to 2 s for the first results."""
        if self._names:
            threading.Thread(target=self._look_up, name="peer names", daemon=True).start()
            self._looked_up.wait(_FIRST_LOOKUP_S)

    def close(self) -> None:
        """Stop resolving names."""
        self._closed.set()

    def host_of(self, host: str) -> str | None:
        """The configured host that the address of a socket belongs to; None for a stranger."""
        address = address_of_socket(host)
        if not self._settings.peer:
            return LOCAL.host if _local(self._settings, address) else None
        return next((name for name in self.hosts if self.has(name, address)), None)

    def has(self, host: str, address: Address) -> bool:
        """Whether a configured host has this address, as far as is known."""
        if host in self._names:
            return address in self._addresses.get(host, ())
        return has_address(host, address)

    def _look_up(self) -> None:
        while True:
            for name in self._names:
                self._addresses[name] = addresses_of(name)
            self._looked_up.set()
            if self._closed.wait(_LOOKUP_INTERVAL_S):
                return
