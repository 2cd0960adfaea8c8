"""A language model that chooses and orders phrases: what it is asked and answers, what is believed of it."""

from worker.summary.provider.client import ask
from worker.summary.provider.converse import Conversation, Exchange, converse
from worker.summary.provider.faults import ProviderError, ProviderFault
from worker.summary.provider.key import read_key

__all__ = ["Conversation", "Exchange", "ProviderError", "ProviderFault", "ask", "converse", "read_key"]
