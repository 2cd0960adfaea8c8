"""The text that is always made, without a language model: deterministic, from the facts alone."""

from neurotriage.core.summary import Language, Origin, Sentence, Summary
from worker.summary.facts import Facts
from worker.summary.phrases import VOCABULARIES, Vocabulary
from worker.summary.statements import Statement, statements


def template(facts: Facts, language: Language, *, plain: bool = False) -> Summary:
    """Everything that may be said of a study, in its usual words and order.

    ``plain`` adds the version for readers without medical training.
    """
    vocabulary = VOCABULARIES[language]
    sentences = tuple(
        Sentence(item.section, item.phrase, item.facts, wordings(item, vocabulary)[0])
        for item in statements(facts, plain=plain)
    )
    return Summary(language, Origin.TEMPLATE, sentences, opinion=facts.opinion)


def wordings(statement: Statement, vocabulary: Vocabulary) -> tuple[str, ...]:
    """All words in which a statement may be made, the usual ones first."""
    words = {slot: vocabulary.words(value) for slot, value in statement.values.items()}
    return tuple(phrase.format(**words) for phrase in vocabulary.phrases[statement.phrase])
