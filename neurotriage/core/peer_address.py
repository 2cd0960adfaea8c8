"""Whether an address on the network is the one that a ``[[peer]]`` is configured with."""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network


def has_address(host: str, address: IPv4Address | IPv6Address) -> bool:
    """``host`` is an address, a CIDR, or a name (resolved anew each time: addresses move)."""
    try:
        return address in ip_network(host, strict=False)
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return any(address_of_socket(str(entry[4][0])) == address for entry in found)


def address_of_socket(host: str) -> IPv4Address | IPv6Address:
    """The address of a socket; IPv4 inside IPv6 is the IPv4 address."""
    address = ip_address(host.split("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
