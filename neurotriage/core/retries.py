"""When something that failed is tried again."""


def retry_delay_s(attempts: int, *, first_s: float, longest_s: float) -> float:
    """Delay before the next try after ``attempts`` tries (1-based), doubled each time to ``longest_s``."""
    return float(min(longest_s, first_s * 2 ** min(max(attempts, 1) - 1, 30)))
