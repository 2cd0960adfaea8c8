"""Conditions of a rule: what is asked of a series, as data."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, PlainValidator, model_validator

from neurotriage.core.settings import Section
from neurotriage.core.values import Plane
from worker.selection.site_rules.attribute import Attribute, attribute_of
from worker.selection.site_rules.pattern import checked_pattern

MAX_DEPTH: Final = 5
_MAX_LIST: Final = 100
_MAX_TEXT: Final = 256
_MAX_TOLD: Final = 120  # characters of a value that are repeated
_NUMBERS: Final = frozenset({"slices", "thickness_mm"})

Fact = Literal["modality", "orientation", "slices", "thickness_mm", "peer"]


@dataclass(frozen=True, slots=True)
class SeriesView:
    """A series as conditions see it."""

    values: Mapping[int, tuple[str, ...]]  # by tag: those that most of its images state; none where absent
    facts: Mapping[str, str | float | None]  # by the words of ``Fact``; None or "" where unknown


def _text_or_number(wanted: Any) -> str | float:
    if isinstance(wanted, str) and wanted.strip() and len(wanted) <= _MAX_TEXT:
        return wanted
    if isinstance(wanted, int | float) and not isinstance(wanted, bool) and math.isfinite(wanted):
        return float(wanted)
    raise ValueError(f"write a number, or a text of 1 to {_MAX_TEXT} characters")


def _pattern(written: Any) -> str:
    if not isinstance(written, str):
        raise ValueError("write a regular expression as a text")
    return checked_pattern(written)


_Wanted = Annotated[str | float, PlainValidator(_text_or_number)]
_Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class Condition(Section):
    """One of ``all``, ``any`` and ``not`` of other conditions, or a question about a ``tag`` or a ``fact``.

    Texts are compared without regard to case. A tag of several values answers with any of them.
    """

    all_of: tuple["Condition", ...] | None = Field(None, alias="all", max_length=_MAX_LIST)
    any_of: tuple["Condition", ...] | None = Field(None, alias="any", max_length=_MAX_LIST)
    negated: "Condition | None" = Field(None, alias="not")
    tag: Annotated[Attribute | None, PlainValidator(attribute_of)] = None
    fact: Fact | None = None
    equals: _Wanted | None = None
    one_of: tuple[_Wanted, ...] | None = Field(None, max_length=_MAX_LIST)
    matches: Annotated[str | None, PlainValidator(_pattern)] = None
    between: tuple[_Number, _Number] | None = None
    at_least: _Number | None = None
    at_most: _Number | None = None
    present: Literal[True] | None = None
    absent: Literal[True] | None = None

    @model_validator(mode="after")
    def _asks_one_thing(self) -> Self:
        subjects = [self.all_of, self.any_of, self.negated, self.tag, self.fact]
        if sum(subject is not None for subject in subjects) != 1:
            raise ValueError("give exactly one of all, any, not, tag and fact")
        if () in (self.all_of, self.any_of, self.one_of):
            raise ValueError("a list of all, any or one_of has at least one entry")
        questions = self._questions()
        if self.tag is None and self.fact is None:
            if questions:
                raise ValueError(f"{questions[0]}: needs a tag or a fact beside it")
            return self
        if len(questions) != 1:
            raise ValueError(
                "give exactly one of equals, one_of, matches, between, at_least, at_most, present and absent"
            )
        self._check_kind(questions[0])
        return self

    def _questions(self) -> list[str]:
        names = ("equals", "one_of", "matches", "between", "at_least", "at_most", "present", "absent")
        return [name for name in names if getattr(self, name) is not None]

    def _check_kind(self, question: str) -> None:
        """Raise ``ValueError`` where a question cannot be asked of the subject."""
        if question in ("present", "absent"):
            return
        if self.tag is not None and not self.tag.has_text:
            raise ValueError(f"{question}: {self.tag.label} can only be present or absent")
        number = self.tag.numeric if self.tag is not None else self.fact in _NUMBERS
        name = self.tag.label if self.tag is not None else str(self.fact)
        if question in ("between", "at_least", "at_most"):
            if not number:
                raise ValueError(f"{question}: {name} is a text and has no range")
            if self.between is not None and self.between[0] > self.between[1]:
                raise ValueError("between: the lower number comes first")
        elif self.fact in _NUMBERS and any(not isinstance(wanted, float) for wanted in self._wanted):
            raise ValueError(f"{question}: {name} is a number")
        elif self.fact == "orientation" and {str(wanted).lower() for wanted in self._wanted} - set(Plane):
            raise ValueError(f"{question}: an orientation is {', '.join(Plane)}")

    @property
    def _wanted(self) -> tuple[str | float, ...]:
        given = self.one_of or (self.equals, self.matches)
        return tuple(wanted for wanted in given if wanted is not None)

    @property
    def depth(self) -> int:
        """1 for a question, one more for each ``all``, ``any`` and ``not`` around it."""
        return 1 + max((part.depth for part in self._parts), default=0)

    @property
    def _parts(self) -> tuple["Condition", ...]:
        return self.all_of or self.any_of or ((self.negated,) if self.negated is not None else ())

    def questions(self) -> Iterator["Condition"]:
        """The questions about tags and facts in it, in the order in which they are written."""
        if not self._parts:
            yield self
        for part in self._parts:
            yield from part.questions()

    def holds(self, series: SeriesView) -> bool:
        """Whether a series fulfils it. What a series does not state equals, matches and lies in nothing."""
        if self.all_of is not None:
            return all(part.holds(series) for part in self.all_of)
        if self.any_of is not None:
            return any(part.holds(series) for part in self.any_of)
        if self.negated is not None:
            return not self.negated.holds(series)
        stated = self.stated(series)
        if self.present or self.absent:
            return bool(stated) is bool(self.present)
        return any(self._answers(value) for value in stated)

    def stated(self, series: SeriesView) -> tuple[str | float, ...]:
        """What a series states of the tag or the fact that is asked for; empty where it states nothing."""
        if self.tag is not None:
            return series.values.get(self.tag.tag, ())
        fact = series.facts.get(str(self.fact))
        return () if fact is None or fact == "" else (fact,)

    def _answers(self, value: str | float) -> bool:
        if self.matches is not None:
            return re.search(self.matches, str(value)[:_MAX_TEXT], re.IGNORECASE) is not None
        if self.equals is not None or self.one_of is not None:
            return any(_equal(value, wanted) for wanted in self._wanted)
        number = _number(value)
        low, high = self.between or (self.at_least, self.at_most)
        return number is not None and (low is None or low <= number) and (high is None or number <= high)

    def told(self, series: SeriesView) -> str:
        """The tag or fact with its value, for whoever asks what decided."""
        name = self.tag.label if self.tag is not None else str(self.fact)
        stated = self.stated(series)
        if not stated:
            return f"{name} is absent"
        if self.tag is not None and self.tag.about_patient:
            return name
        values = "\\".join(f"{value:g}" if isinstance(value, float) else str(value) for value in stated)
        return f"{name} = {values[:_MAX_TOLD]}{'...' if len(values) > _MAX_TOLD else ''}"


def _equal(value: str | float, wanted: str | float) -> bool:
    if isinstance(wanted, str):
        return str(value).strip().casefold() == wanted.strip().casefold()
    number = _number(value)
    return number is not None and math.isclose(number, wanted, rel_tol=1e-6, abs_tol=1e-9)


def _number(value: str | float) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
