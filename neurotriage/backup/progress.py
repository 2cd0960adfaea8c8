"""How far a backup or restore has come."""

from collections.abc import Callable

Tell = Callable[[str, int, int], None]
"""What is copied, how many are done, and of how many."""


def tell_nobody(_what: str, _done: int, _total: int) -> None:
    """For a caller that shows nothing."""
