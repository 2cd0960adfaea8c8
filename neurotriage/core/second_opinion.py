"""What another model says of pictures of a study: advice beside our own answer, never in its place."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from neurotriage.core.values import Outcome, Side


class Verdict(StrEnum):
    """The closed answers."""

    TUMOUR = "tumour"
    NO_TUMOUR = "no_tumour"
    UNSURE = "unsure"


class Agreement(StrEnum):
    """The answer beside ours."""

    AGREES = "agrees"
    OTHER_ANSWER = "other_answer"
    OTHER_SIDE = "other_side"
    UNSURE = "unsure"  # it gives no answer
    ALONE = "alone"  # we give no safe answer


@dataclass(frozen=True, slots=True)
class Opinion:
    """``confidence``: 0..1, as the other model states it; it is calibrated by nobody."""

    author: str
    verdict: Verdict
    side: Side | None  # of the patient; None where it names none
    confidence: float

    @property
    def tumour(self) -> float | None:
        """The confidence as one in a tumour, 0..1, for a scale; None where the model is unsure."""
        if self.verdict is Verdict.UNSURE:
            return None
        return self.confidence if self.verdict is Verdict.TUMOUR else 1 - self.confidence

    def agreement(self, outcome: Outcome, sides: Collection[Side]) -> Agreement:
        """How it stands to our outcome, and to the sides of our lesions."""
        if self.verdict is Verdict.UNSURE:
            return Agreement.UNSURE
        if outcome is Outcome.UNDETERMINED:
            return Agreement.ALONE
        if (self.verdict is Verdict.TUMOUR) != (outcome is Outcome.PRESENT):
            return Agreement.OTHER_ANSWER
        other = {Side.LEFT: Side.RIGHT, Side.RIGHT: Side.LEFT}.get(self.side) if self.side else None
        return Agreement.OTHER_SIDE if other and set(sides) == {other} else Agreement.AGREES
