"""Models of somebody else, asked over the network: one request, its limits, and what may go wrong."""

from worker.provider.client import ask, find_model
from worker.provider.faults import PASSING, ProviderError, ProviderFault
from worker.provider.key import KEY_VARIABLE, OPINION_KEY_VARIABLE, read_key

__all__ = [
    "KEY_VARIABLE",
    "OPINION_KEY_VARIABLE",
    "PASSING",
    "ProviderError",
    "ProviderFault",
    "ask",
    "find_model",
    "read_key",
]
