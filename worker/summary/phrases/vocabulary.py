"""How one language says values and phrases."""

from collections.abc import Mapping
from dataclasses import dataclass

from neurotriage.core.second_opinion import Verdict
from neurotriage.core.values import Outcome, Side, Triage
from neurotriage.core.wording import percent
from worker.summary.values import (
    Counted,
    Held,
    Kind,
    LesionNumber,
    Millimetres,
    Modalities,
    Names,
    Noun,
    SeriesName,
    Share,
    SliceRange,
    Value,
)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words of one language. ``phrases``: wordings with slots in braces, the usual one first."""

    phrases: Mapping[str, tuple[str, ...]]
    nouns: Mapping[Noun, tuple[str, str]]  # singular, plural
    sides: Mapping[Side, str]
    kinds: Mapping[Kind, str]
    verdicts: Mapping[Verdict, str]
    triages: Mapping[Triage, str]
    outcomes: Mapping[Outcome, str]
    modalities: Mapping[str, str]
    joint: str  # between the last two of a list
    one_slice: str
    slice_range: str
    of_stack: str
    series: str
    threshold: str
    just_below: str
    just_above: str

    def words(self, value: Value) -> str:
        """A value as it stands in a sentence."""
        match value:
            case Counted(count, noun):
                return f"{count} {self.nouns[noun][count != 1]}"
            case SliceRange():
                return self._slices(value)
            case SeriesName(modality, number, of):
                words = self.series if of > 1 else "{modality}"
                return words.format(modality=self._modality(modality), number=number, of=of)
            case Modalities(names):
                return self.joint.join(map(self._modality, names))
            case Share(share):
                return percent(share)
            case Held(share, threshold):
                return f"{percent(share)} ({self._threshold(share, threshold)})"
            case Millimetres(size):
                return f"{size} mm"
            case LesionNumber(number):
                return str(number)
            case Names(names):
                return ", ".join(names)
            case Side():
                return self.sides[value]
            case Kind():
                return self.kinds[value]
            case Verdict():
                return self.verdicts[value]
            case Triage():
                return self.triages[value]
            case Outcome():
                return self.outcomes[value]

    def _slices(self, slices: SliceRange) -> str:
        words = self.one_slice if slices.first == slices.last else self.slice_range
        stack = self.of_stack.format(count=slices.of) if slices.of else ""
        return words.format(first=slices.first, last=slices.last) + stack

    def _modality(self, name: str) -> str:
        return self.modalities.get(name, name)

    def _threshold(self, share: float, threshold: float) -> str:
        """The threshold; where it rounds to the same figure, on which side of it the probability lies."""
        if percent(share) != percent(threshold):
            return self.threshold.format(percent=percent(threshold))
        return self.just_below if share < threshold else self.just_above
