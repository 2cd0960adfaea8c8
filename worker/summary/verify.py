"""Whether proposed sentences say what the facts say: pure, and without a model.

Free text cannot be verified safely, so nothing is read from it: a sentence is accepted only where it is, word
for word, a wording of a statement that is true of the study, and the whole only where it leaves out none that
is needed.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from neurotriage.core.summary import Language, Section, Sentence
from worker.summary.facts import Facts
from worker.summary.phrases import VOCABULARIES, Vocabulary
from worker.summary.statements import Statement, statements
from worker.summary.template import wordings

_QUOTED: Final = 80  # characters of refused text that a detail repeats
_SLOT: Final = re.compile(r"\{(\w+)\}")


class Fault(StrEnum):
    """Why a sentence or a whole text is refused."""

    UNKNOWN_PHRASE = "unknown_phrase"  # no phrase has this name
    UNTRUE = "untrue"  # the phrase does not hold of this study
    WRONG_FACTS = "wrong_facts"  # it holds of other facts than those named
    WRONG_VALUE = "wrong_value"  # a number, unit, side, class, modality or slice is not the fact's
    OTHER_WORDS = "other_words"  # the words are none of the phrase
    REPEATED = "repeated"
    MISSING = "missing"  # a sentence that may not be left out
    OUT_OF_ORDER = "out_of_order"  # a section after a later one, or a sentence that has a place of its own


@dataclass(frozen=True, slots=True)
class Proposal:
    """A sentence as somebody proposes it: nothing of it is trusted."""

    phrase: str
    facts: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is wrong with a sentence, by its 0-based place, or with the whole (None)."""

    sentence: int | None
    fault: Fault
    detail: str  # for the record, and for whoever repairs it


@dataclass(frozen=True, slots=True)
class Verdict:
    """``sentences``: those that were accepted, in the proposed order."""

    sentences: tuple[Sentence, ...]
    refusals: tuple[Refusal, ...]

    @property
    def accepted(self) -> bool:
        """True if the whole text may stand."""
        return not self.refusals


def verify(facts: Facts, language: Language, proposed: Sequence[Proposal], *, plain: bool = False) -> Verdict:
    """Compare a proposed text with the facts, sentence by sentence and as a whole."""
    vocabulary = VOCABULARIES[language]
    possible = statements(facts, plain=plain)
    sentences: list[Sentence] = []
    refusals: list[Refusal] = []
    said: list[Statement] = []
    for place, item in enumerate(proposed):
        found = _statement(item, possible, vocabulary)
        if isinstance(found, Statement) and found in said:
            found = Fault.REPEATED, "it was said before"
        if isinstance(found, Statement):
            said.append(found)
            sentences.append(Sentence(found.section, found.phrase, found.facts, _spaced(item.text)))
        else:
            refusals.append(Refusal(place, *found))
    refusals.extend(_of_the_whole(said, possible))
    return Verdict(tuple(sentences), tuple(refusals))


def _statement(
    item: Proposal, possible: Sequence[Statement], vocabulary: Vocabulary
) -> Statement | tuple[Fault, str]:
    """The statement that a sentence makes, or what is wrong with it."""
    if item.phrase not in vocabulary.phrases:
        return Fault.UNKNOWN_PHRASE, f"there is no phrase {_quoted(item.phrase)}"
    of_phrase = [statement for statement in possible if statement.phrase == item.phrase]
    if not of_phrase:
        return Fault.UNTRUE, f"the phrase {item.phrase} does not hold of this study"
    named = [statement for statement in of_phrase if set(statement.facts) == set(item.facts)]
    if not named:
        right = " or ".join(", ".join(statement.facts) for statement in of_phrase)
        return Fault.WRONG_FACTS, f"the phrase {item.phrase} rests on {right}"
    for statement in named:
        if _spaced(item.text) in wordings(statement, vocabulary):
            return statement
    return _what_differs(_spaced(item.text), named[0], vocabulary)


def _what_differs(text: str, statement: Statement, vocabulary: Vocabulary) -> tuple[Fault, str]:
    """The slots whose values are not those of the facts; where none can be told, that the words differ."""
    right = {slot: vocabulary.words(value) for slot, value in statement.values.items()}
    for wording in vocabulary.phrases[statement.phrase]:
        filled = _filled(wording, text)
        wrong = {slot: words for slot, words in filled.items() if words != right[slot]}
        if wrong:
            listed = "; ".join(
                f"{slot} is {_quoted(right[slot])}, not {_quoted(words)}" for slot, words in wrong.items()
            )
            return Fault.WRONG_VALUE, listed
    usual = wordings(statement, vocabulary)[0]
    return Fault.OTHER_WORDS, f"the phrase {statement.phrase} reads {_quoted(usual, len(usual))}"


def _filled(wording: str, text: str) -> dict[str, str]:
    """What stands in the slots of a wording; empty where the text is not of its form.

    By the first occurrence of the words between two slots: in one pass, whatever a text holds.
    """
    first, *parts = _SLOT.split(wording)
    if not text.startswith(first):
        return {}
    filled: dict[str, str] = {}
    rest = text[len(first) :]
    for slot, literal in zip(parts[::2], parts[1::2], strict=True):
        end = len(rest) - len(literal) if len(filled) == len(parts) // 2 - 1 else rest.find(literal)
        if end < 0 or not rest[end:].startswith(literal):
            return {}
        filled[slot], rest = rest[:end], rest[end + len(literal) :]
    return filled if not rest else {}


def _of_the_whole(said: Sequence[Statement], possible: Sequence[Statement]) -> Iterator[Refusal]:
    for statement in possible:
        if statement.needed and statement not in said:
            rests_on = ", ".join(statement.facts)
            yield Refusal(None, Fault.MISSING, f"the phrase {statement.phrase} ({rests_on}) is missing")
    order = list(Section)
    places = [
        (order.index(item.section), item.free, 0 if item.free else possible.index(item)) for item in said
    ]
    if places != sorted(places):
        yield Refusal(
            None,
            Fault.OUT_OF_ORDER,
            "findings come first, then impression, limits and plain; within a section the sentences keep the "
            "order in which they are given, but for those marked free, which come after the others",
        )


def _spaced(text: str) -> str:
    """The text with single spaces: a model may write a narrow or a protected one before a unit."""
    return " ".join(text.split())


def _quoted(words: str, most: int = _QUOTED) -> str:
    short = words if len(words) <= most else words[:most] + "..."
    return repr(short)
