"""The destination of a delivery: a configured one, or the peer that sent the study."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from neurotriage.core.settings import Destination, Peer, Settings
from neurotriage.dicom.addresses import address_of_socket, has_address
from worker.delivery.client import Misconfigured


def address_of(destination: Destination, sender: tuple[str, str]) -> str:
    """The name under which deliveries of a study are queued: ``NAME``, or ``NAME/AE_TITLE@HOST``.

    The latter where results go back to the sender, so that each sender has a queue and a lease of its own.
    ``sender``: calling AE title and address of the peer that sent the study.
    """
    ae_title, host = sender
    return f"{destination.name}/{ae_title}@{host}" if destination.to_sender else destination.name


def destination_of(settings: Settings, address: str) -> Destination | None:
    """The destination that ``address_of`` named; None where the configuration has none of that name.

    Raises ``Misconfigured`` where results go back to a sender without an address (a web client may have
    none), or no ``[[peer]]`` has its port.
    """
    name, _, sender = address.partition("/")
    destination = next((d for d in settings.destination if d.name == name), None)
    if destination is None or destination.to_sender != bool(sender):
        return None
    if not destination.to_sender:
        return destination
    ae_title, _, host = sender.rpartition("@")
    try:
        port = _port(settings.peer, ae_title, address_of_socket(host))
    except ValueError as error:
        raise Misconfigured(f"{ae_title} sent without an address, so no results can go back to it") from error
    if port is None:
        raise Misconfigured(f"no [[peer]] {ae_title} at {host} has a port to which results can be sent back")
    return destination.model_copy(update={"ae_title": ae_title, "host": host, "port": port})


def _port(peers: Iterable[Peer], ae_title: str, address: IPv4Address | IPv6Address) -> int | None:
    """The port of the first ``[[peer]]`` with this AE title and address; several hosts may share a title."""
    own = (peer for peer in peers if peer.port and peer.ae_title.strip() == ae_title)
    return next((peer.port for peer in own if has_address(peer.host, address)), None)
