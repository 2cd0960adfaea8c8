"""The priority class of a study: what is analysed and sent first, and the evidence that decided."""

from dataclasses import dataclass
from enum import StrEnum


class Priority(StrEnum):
    """The classes, the most urgent first."""

    URGENT = "urgent"
    ROUTINE = "routine"
    BACKLOG = "backlog"

    @property
    def rank(self) -> int:
        """0 for the most urgent."""
        return list(Priority).index(self)


class Basis(StrEnum):
    """The kind of evidence that decided."""

    COMMAND = "command"  # an admin's word
    PEER = "peer"  # the mark of the [[peer]] that sent it
    CALLED = "called"  # the mark of the AE title of ours that was called
    REQUEST = "request"  # the priority that was requested, by the header
    LOCATION = "location"  # an emergency location, by the header
    AGAIN = "again"  # images that were analysed before came once more
    REPEATED = "repeated"  # analysed again together with others, by command
    NOTHING = "nothing"  # nothing speaks for another class than routine


# What keeps a study in its class until there is evidence for a more urgent one.
_HELD = frozenset({Basis.AGAIN, Basis.REPEATED})


@dataclass(frozen=True, slots=True)
class Judgement:
    """A class, and why. ``evidence`` may quote a header."""

    priority: Priority
    basis: Basis
    evidence: str = ""


def combined(current: Judgement | None, new: Judgement) -> Judgement:
    """The judgement on a study of which more becomes known; None: nothing was known yet.

    A class only rises, the order in which evidence comes does not matter, and an admin's word stands.
    """
    if current is None:
        return new
    if current.basis is Basis.COMMAND or (current.basis in _HELD and new.basis is Basis.NOTHING):
        return current
    return new if new.priority.rank < current.priority.rank else current


def after_sent_again(current: Judgement) -> Judgement:
    """The judgement on a study that was analysed and of which images come once more."""
    if current.priority is not Priority.ROUTINE or current.basis is Basis.COMMAND:
        return current
    return Judgement(Priority.BACKLOG, Basis.AGAIN, "sent again after it was analysed")
