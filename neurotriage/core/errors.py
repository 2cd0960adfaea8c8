"""Kinds of error, by whose fault it is: the input's, the surroundings', the installation's.

Everything else is a bug.
"""

from neurotriage.core.values import Reason, ReasonCode


class Refused(Exception):
    """The input cannot be used. Permanent: another try gives the same answer."""

    def __init__(self, code: ReasonCode, text: str) -> None:
        super().__init__(text)
        self.reason = Reason(code, text)


class Unavailable(Exception):
    """The database, broker, PACS or disk does not answer. Another try may succeed."""


class SetupError(Exception):
    """The installation cannot work as it is set up: its configuration, its weights or an engine.

    Neither another input nor another try helps; an admin must act, and the text says on what. A command tells
    it in a line and ends; a worker goes on without the part where something stands in for it.
    """
