"""What may go wrong between us and a language model."""

from enum import StrEnum
from typing import Final


class ProviderFault(StrEnum):
    """Each of them ends in the text of the template."""

    NO_KEY = "no_key"
    NOT_ALLOWED = "not_allowed"  # 401, 403
    MODEL_GONE = "model_gone"  # 404, or 400 that says so: no such model, or retired
    REJECTED = "rejected"  # another 4xx: the request is not to its liking
    RATE_LIMITED = "rate_limited"  # 429
    SERVER_ERROR = "server_error"  # 5xx, 408, 498
    NO_CONNECTION = "no_connection"  # refused, cut, or no name
    TOO_SLOW = "too_slow"
    NOT_AN_ANSWER = "not_an_answer"  # HTML, empty, malformed, cut off, too large, or another address
    REFUSED = "refused"  # the model declines
    PAUSED = "paused"  # it failed several times in a row and is left alone for a while
    NO_TURN = "no_turn"  # as many requests as are allowed were made


# What may be gone the next moment.
PASSING: Final = frozenset(
    {
        ProviderFault.RATE_LIMITED,
        ProviderFault.SERVER_ERROR,
        ProviderFault.NO_CONNECTION,
        ProviderFault.TOO_SLOW,
    }
)


class ProviderError(Exception):
    """A request that brought no answer. Its text never holds what the provider wrote."""

    def __init__(self, fault: ProviderFault, text: str, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.fault = fault
        self.text = text
        self.retry_after_s = retry_after_s  # as the provider asks, where it does
