"""IP addresses of peers, as configured in a ``[[peer]]`` and as seen on a socket."""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

Address = IPv4Address | IPv6Address


def has_address(host: str, address: Address) -> bool:
    """Whether ``address`` belongs to ``host``: an address, a CIDR block, or a name, resolved anew."""
    if is_name(host):
        return address in addresses_of(host)
    return address in ip_network(host, strict=False)


def addresses_of(name: str) -> frozenset[Address]:
    """The addresses that a host name resolves to now; empty where it does not resolve."""
    try:
        entries = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return frozenset()
    return frozenset(address_of_socket(str(entry[4][0])) for entry in entries)


def is_name(host: str) -> bool:
    """Whether ``host`` is a name, not an address or a CIDR block."""
    try:
        ip_network(host, strict=False)
    except ValueError:
        return True
    return False


def address_of_socket(host: str) -> Address:
    """Parse the address of a socket; an IPv4-mapped IPv6 address becomes IPv4. Raises ``ValueError``."""
    address = ip_address(host.split("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
