"""The summary of an analysis in words: sentences, each with its phrase and the facts that it rests on.

A sentence is always one of ``worker.summary``'s closed phrases, whoever chose it. Serialisable to JSON.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from neurotriage.core.second_opinion import Opinion


class Language(StrEnum):
    """The languages of a summary (ISO 639-1)."""

    ENGLISH = "en"
    GERMAN = "de"


class Section(StrEnum):
    """The parts of a summary, in their order."""

    FINDINGS = "findings"
    IMPRESSION = "impression"
    LIMITS = "limits"
    PLAIN = "plain"  # the same for readers without medical training


class Origin(StrEnum):
    """Who chose and ordered the sentences."""

    TEMPLATE = "template"
    MODEL = "model"  # a language model, checked sentence by sentence


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence: the phrase, the names of its facts, and the words."""

    section: Section
    phrase: str
    facts: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Summary:
    """The text of one analysis in one language."""

    language: Language
    origin: Origin
    sentences: tuple[Sentence, ...]
    author: str = ""  # the language model, where one chose
    opinion: Opinion | None = None  # of another model on pictures, where one was asked

    def text_of(self, section: Section) -> str:
        """The sentences of a section as running text; empty where it has none."""
        return " ".join(item.text for item in self.sentences if item.section is section)

    @property
    def digest(self) -> str:
        """SHA-256 over language, origin, author and all words, hex: other words are another object."""
        return _digest((self.language, self.origin, self.author, *(s.text for s in self.sentences)))


def _digest(parts: Iterable[str]) -> str:
    summary = sha256()
    for part in parts:
        summary.update(f"{part}\n".encode())
    return summary.hexdigest()
