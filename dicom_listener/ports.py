"""The listening sockets, and from where each takes plain text."""

import socket
from dataclasses import dataclass
from typing import Final

from dicom_listener.admission.tls import ReloadedContext
from neurotriage.core.settings import ListeningPort
from neurotriage.dicom.addresses import address_of_socket, has_address

_BACKLOG: Final = 128


@dataclass(frozen=True, slots=True)
class Port:
    """A listening socket; its context where it has TLS."""

    settings: ListeningPort
    listening: socket.socket
    tls: ReloadedContext | None

    def takes_plain_from(self, host: str) -> bool:
        """Whether the address of a socket may send in plain text: this host, or a network that is named."""
        address = address_of_socket(host)
        if address.is_loopback or self.settings.is_loopback:
            return True
        return any(has_address(network, address) for network in self.settings.unencrypted)


def open_port(settings: ListeningPort) -> Port:
    """Bind and listen, without blocking.

    Raises ``OSError`` where that fails, and ``ConfigurationError`` where its certificate cannot be used.
    """
    tls = ReloadedContext(settings.tls) if settings.tls is not None else None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(_BACKLOG)
            listening.setblocking(False)
        except BaseException:
            listening.close()
            raise
    except OSError as error:
        place = f"{settings.host}:{settings.port}"
        raise OSError(error.errno, error.strerror or str(error), place) from error
    return Port(settings, listening, tls)
