"""The text that is always made, without a language model: deterministic, from the facts alone."""

from neurotriage.core.summary import Language, Origin, Section, Sentence, Summary
from worker.summary.facts import Facts


def template(facts: Facts, language: Language, *, plain: bool = False) -> Summary:
    """The usual text on a study in one language; ``plain`` adds the version without medical terms."""
    sections = [Section.FINDINGS, Section.IMPRESSION, Section.LIMITS, *([Section.PLAIN] if plain else [])]
    sentences = tuple(
        Sentence(section, section.value, ("outcome",), f"{facts.outcome.value} ({language.value}).")
        for section in sections
    )
    return Summary(language, Origin.TEMPLATE, sentences)
