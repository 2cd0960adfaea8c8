"""Our listener's port, seen from its own host."""

import socket

import pytest

from neurotriage.core.process.own_port import cannot_bind, is_any, reached_at

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("host", "here", "every"),
    [
        ("0.0.0.0", "127.0.0.1", True),  # noqa: S104
        ("::", "::1", True),
        ("127.0.0.1", "127.0.0.1", False),
        ("192.0.2.7", "192.0.2.7", False),
    ],
)
def test_a_listener_is_reached_at_the_address_it_is_bound_to(host: str, here: str, every: bool) -> None:
    assert (reached_at(host), is_any(host)) == (here, every)


def test_a_port_that_is_taken_and_an_address_that_is_not_ours_are_told_in_words() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert str(getattr(cannot_bind("127.0.0.1", port), "strerror", "")) == "Address already in use"
    assert cannot_bind("127.0.0.1", port) is None
    for nowhere in ("192.0.2.7", "no-such-host.invalid"):
        problem = cannot_bind(nowhere, 0)
        assert problem is not None
        assert problem.strerror
