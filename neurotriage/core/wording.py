"""Words in sentences that people read."""


def counted(count: int, noun: str) -> str:
    """``1 slice``, ``2 slices``, ``0 slices``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
