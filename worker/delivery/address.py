"""Which peer a delivery is for: a configured one, or the one that sent the study."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from neurotriage.core.settings import Destination, Peer, Settings
from neurotriage.dicom.addresses import address_of_socket, has_address
from worker.delivery.client import Misconfigured


def address_of(destination: Destination, sender: tuple[str, str]) -> str:
    """The name under which a study's deliveries are kept: each sender has a lease and a queue of its own.

    ``sender``: calling AE title and address of the peer that the study came from.
    """
    ae_title, host = sender
    return f"{destination.name}/{ae_title}@{host}" if destination.to_sender else destination.name


def destination_of(settings: Settings, address: str) -> Destination | None:
    """The destination of an address; None where the configuration does not know it.

    Raises ``Misconfigured`` where the sender's port is not known.
    """
    name, _, sender = address.partition("/")
    found = next((d for d in settings.destination if d.name == name), None)
    if found is None or found.to_sender != bool(sender):
        return None
    if not found.to_sender:
        return found
    ae_title, _, host = sender.rpartition("@")
    port = _port(settings.peer, ae_title, address_of_socket(host))
    if port is None:
        raise Misconfigured(f"no [[peer]] {ae_title} at {host} has a port to which results can be sent back")
    return found.model_copy(update={"ae_title": ae_title, "host": host, "port": port})


def _port(peers: Iterable[Peer], ae_title: str, address: IPv4Address | IPv6Address) -> int | None:
    """The port of the first peer that is the sender: machines of one AE title may have different ones."""
    own = (peer for peer in peers if peer.port and peer.ae_title.strip() == ae_title)
    return next((peer.port for peer in own if has_address(peer.host, address)), None)
