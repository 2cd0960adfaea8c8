"""What may be said of a study before all its images have come."""

from dataclasses import replace
from typing import Final

from neurotriage.core.values import Analysis

FIRST_LOOK: Final = (
    "this is a first look, made before all images of the study had come; where further images change the "
    "result, a new one follows"
)
NOTHING_EARLY: Final = "first look: nothing to say before the study is complete"


def tells_early(analysis: Analysis) -> bool:
    """Whether a first look is worth a result: a suspicion, or something that looks wrong.

    That nothing was found, or nothing could be analysed, may be untrue a minute later: it is said of a
    complete study only.
    """
    return analysis.outcome.marked


def as_first_look(analysis: Analysis) -> Analysis:
    """The analysis with a note, before all others, that every result shows."""
    return replace(analysis, degradations=(FIRST_LOOK, *analysis.degradations))
