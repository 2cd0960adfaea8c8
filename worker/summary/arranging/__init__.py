"""A language model that chooses and orders phrases: what it is asked and answers, what is believed of it."""

from worker.summary.arranging.converse import Conversation, Exchange, converse

__all__ = ["Conversation", "Exchange", "converse"]
