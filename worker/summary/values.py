"""The values that fill the slots of phrases; each language says them in its own words."""

from dataclasses import dataclass
from enum import StrEnum

from neurotriage.core.second_opinion import Verdict
from neurotriage.core.values import Outcome, Side, Triage


class Noun(StrEnum):
    """What is counted."""

    SLICE = "slice"
    SERIES = "series"
    LESION = "lesion"
    IMAGE = "image"
    LIMITATION = "limitation"


class Kind(StrEnum):
    """The kinds of tumour that a model tells apart."""

    BENIGN = "benign"
    MALIGNANT = "malignant"


@dataclass(frozen=True, slots=True)
class Counted:
    count: int
    noun: Noun


@dataclass(frozen=True, slots=True)
class SliceRange:
    """Slices, 1-based and with both ends, of a stack; ``of`` is 0 where their number is not known."""

    first: int
    last: int
    of: int


@dataclass(frozen=True, slots=True)
class SeriesName:
    """A series without any word of its header: its modality, and its place among the analysed ones of it.

    Never the number of the series in the archive, which it would be taken for.
    """

    modality: str
    number: int
    of: int


@dataclass(frozen=True, slots=True)
class Modalities:
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Share:
    """A probability, 0..1."""

    value: float


@dataclass(frozen=True, slots=True)
class Held:
    """A probability beside the threshold that it was held against, 0..1."""

    value: float
    threshold: float


@dataclass(frozen=True, slots=True)
class Millimetres:
    value: int


@dataclass(frozen=True, slots=True)
class LesionNumber:
    value: int


@dataclass(frozen=True, slots=True)
class Names:
    """Names of our own models with their versions."""

    values: tuple[str, ...]


Value = (
    Counted
    | SliceRange
    | SeriesName
    | Modalities
    | Share
    | Held
    | Millimetres
    | LesionNumber
    | Names
    | Side
    | Kind
    | Verdict
    | Triage
    | Outcome
)
