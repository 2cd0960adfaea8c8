"""A summary as people and programs read it: headings, its origin in words, lines of text, JSON."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import TypeAdapter

from neurotriage.core.summary import Language, Origin, Section, Summary

HEADINGS: Final[Mapping[Language, Mapping[Section, str]]] = {
    Language.ENGLISH: {
        Section.FINDINGS: "Findings",
        Section.IMPRESSION: "Impression",
        Section.LIMITS: "Limits",
        Section.PLAIN: "In plain words",
    },
    Language.GERMAN: {
        Section.FINDINGS: "Befund",
        Section.IMPRESSION: "Beurteilung",
        Section.LIMITS: "Grenzen",
        Section.PLAIN: "In einfachen Worten",
    },
}
_BY_TEMPLATE: Final = {Language.ENGLISH: "Text by template", Language.GERMAN: "Text nach Vorlage"}
_BY_MODEL: Final = {
    Language.ENGLISH: "Text chosen by {author}, each sentence checked against the analysis",
    Language.GERMAN: "Text ausgewählt von {author}, jeder Satz gegen die Analyse geprüft",
}
_WIDTH: Final = 100  # of a line of text
_SUMMARY: Final = TypeAdapter(Summary)


def origin_words(summary: Summary) -> str:
    """Who chose the sentences, in the language of the text, without a full stop."""
    if summary.origin is Origin.TEMPLATE:
        return _BY_TEMPLATE[summary.language]
    return _BY_MODEL[summary.language].format(author=summary.author or "a language model")


def sections(summary: Summary) -> Iterator[tuple[Section, str, str]]:
    """Section, heading and running text of each section that has a sentence, in their order."""
    for section in Section:
        if words := summary.text_of(section):
            yield section, HEADINGS[summary.language][section], words


def summary_lines(summary: Summary, width: int = _WIDTH) -> Iterator[str]:
    """The text with headings and origin, in lines of at most ``width`` characters."""
    for _, heading, words in sections(summary):
        yield heading
        yield from textwrap.wrap(words, width, initial_indent="  ", subsequent_indent="  ")
    yield f"({origin_words(summary)})"


def summary_entry(summary: Summary) -> dict[str, Any]:
    """The text as plain JSON values, as ``result.json`` has it; ``summary_of`` reads it."""
    document: dict[str, Any] = _SUMMARY.dump_python(summary, mode="json")
    return {
        "language": document["language"],
        "origin": document["origin"],
        "author": document["author"],
        "opinion": document["opinion"],
        **{section.value: summary.text_of(section) for section in Section},
        "sentences": document["sentences"],
    }


def summary_of(entry: Mapping[str, Any]) -> Summary:
    """The text that an entry holds. Raises pydantic's ``ValidationError``."""
    names = ("language", "origin", "author", "sentences", "opinion")
    return _SUMMARY.validate_python({name: entry[name] for name in names})
