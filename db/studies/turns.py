"""Whose turn it is: urgent studies first, and nothing starves.

Only the oldest waiting study of each class is looked at, the head of its line. A head that was passed over
often enough comes next. A stream of urgent studies has to be longer than one of routine ones for that, so a
head that routine studies passed over never comes before an urgent one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from neurotriage.core.priority import Priority

# How often the head of a line is passed over before it comes before a study of this class.
PATIENCE: Final = {Priority.URGENT: 16, Priority.ROUTINE: 4, Priority.BACKLOG: 0}


@dataclass(frozen=True, slots=True)
class Head:
    """The oldest waiting revision of a class."""

    revision_id: int
    priority: Priority
    passed_over: int = 0


def next_turn(heads: Sequence[Head]) -> Head:
    """The head that is served next; at least one, at most one of each class.

    The most urgent one, unless a less urgent one was passed over often enough; of several such, the one that
    was passed over most.
    """
    first = min(heads, key=lambda head: head.priority.rank)
    patience = PATIENCE[first.priority]
    overdue = [head for head in heads if head is not first and head.passed_over >= patience]
    return max(overdue, key=lambda head: (head.passed_over, -head.priority.rank), default=first)
