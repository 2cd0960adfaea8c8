"""Three kinds of error: the input's fault, the surroundings' fault, and (everything else) a bug."""

from neurotriage.core.values import Reason, ReasonCode


class Refused(Exception):
    """The input cannot be used. Permanent: trying again gives the same answer."""

    def __init__(self, code: ReasonCode, text: str) -> None:
        super().__init__(text)
        self.reason = Reason(code, text)


class Unavailable(Exception):
    """Something around us (database, broker, PACS, disk) does not answer. Worth another try."""
