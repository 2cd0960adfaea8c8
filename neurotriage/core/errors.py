"""Three kinds of error: the input's fault, the surroundings' fault, and (everything else) a bug."""

from neurotriage.core.values import Reason, ReasonCode


class Refused(Exception):
    """The input cannot be used. Permanent: another try gives the same answer."""

    def __init__(self, code: ReasonCode, text: str) -> None:
        super().__init__(text)
        self.reason = Reason(code, text)


class Unavailable(Exception):
    """The database, broker, PACS or disk does not answer. Another try may succeed."""
