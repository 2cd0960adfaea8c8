"""The listener's port, seen from its own host."""

import socket
from typing import Final

# The address at which a listener that is bound to every address is reached.
_LOCAL: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104


def reached_at(host: str) -> str:
    """The address at which a program on this host reaches a listener bound to ``host``."""
    return _LOCAL.get(host, host)


def is_any(host: str) -> bool:
    """Whether ``host`` stands for every address of this host."""
    return host in _LOCAL


def cannot_bind(host: str, port: int) -> OSError | None:
    """The error that opening the port raises now; None if it is free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error
    return None
