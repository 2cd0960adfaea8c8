"""A process that ends again and again is started less and less often, and never given up."""

from itertools import pairwise

import pytest

from neurotriage.embedded.restarts import Restarts

pytestmark = pytest.mark.unit


def _starts(seconds: range, restarts: Restarts, role: str = "listen") -> list[int]:
    """When a process that ends at once is started, looked at once a second."""
    return [second for second in seconds if restarts.due(role, float(second))]


def test_a_role_that_ends_at_once_is_started_after_ever_longer_waits_of_half_a_minute_at_most() -> None:
    starts = _starts(range(200), Restarts())
    assert starts[0] == 0
    assert [later - earlier for earlier, later in pairwise(starts)][:7] == [1, 2, 4, 8, 16, 30, 30]


def test_a_role_that_ran_for_long_is_started_at_once() -> None:
    restarts = Restarts()
    _starts(range(100), restarts)
    assert _starts(range(1000, 1003), restarts) == [1000, 1001]


def test_roles_wait_for_themselves_alone() -> None:
    restarts = Restarts()
    _starts(range(100), restarts)
    assert restarts.due("analysis", 100.0)
