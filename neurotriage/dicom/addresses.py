"""Whether an address on the network is the one that a ``[[peer]]`` is configured with."""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

Address = IPv4Address | IPv6Address


def has_address(host: str, address: Address) -> bool:
    """``host`` is an address, a CIDR, or a name (resolved anew each time: addresses move)."""
    if is_name(host):
        return address in addresses_of(host)
    return address in ip_network(host, strict=False)


def addresses_of(name: str) -> frozenset[Address]:
    """What a name stands for now; nothing where nobody knows it."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return frozenset()
    return frozenset(address_of_socket(str(entry[4][0])) for entry in found)


def is_name(host: str) -> bool:
    """True of a name, False of an address or a CIDR."""
    try:
        ip_network(host, strict=False)
    except ValueError:
        return True
    return False


def address_of_socket(host: str) -> Address:
    """The address of a socket; IPv4 inside IPv6 is the IPv4 address."""
    address = ip_address(host.split("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
