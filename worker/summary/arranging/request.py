"""What a language model is asked: the facts, the sentences that they allow, and the form of its answer.

Nothing else leaves the worker. The same facts give the same request.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from neurotriage.core.summary import Language
from worker.summary.facts import Facts
from worker.summary.phrases import VOCABULARIES
from worker.summary.statements import Statement, statements
from worker.summary.template import wordings
from worker.summary.verify import Refusal

Message = Mapping[str, str]

_INSTRUCTIONS: Final = """\
You arrange the text of a research summary of a head CT or MR study. You are given facts and the sentences
that may be said of them. Choose sentences and put them into a good order for a radiologist. Copy one of the
wordings of a sentence letter by letter: add, change and leave out nothing within it. Use every sentence
marked needed, and none twice; leave out one that is not needed where it adds nothing. Name phrase and facts
as they are given. Keep the order in which the sentences are given; only those marked
free may change places, behind the others of their section. Answer with JSON
alone."""


def messages(facts: Facts, language: Language, *, plain: bool = False) -> tuple[Message, ...]:
    """The messages of a first request."""
    vocabulary = VOCABULARIES[language]
    question = {
        "language": language.value,
        "facts": asdict(facts),
        "sentences": [
            {
                "section": item.section.value,
                "phrase": item.phrase,
                "facts": list(item.facts),
                "needed": item.needed,
                "free": item.free,
                "wordings": list(wordings(item, vocabulary)),
            }
            for item in statements(facts, plain=plain)
        ],
    }
    return (
        {"role": "system", "content": _INSTRUCTIONS},
        {"role": "user", "content": json.dumps(question, ensure_ascii=False)},
    )


def repair(asked: Sequence[Message], answer: str, refusals: Sequence[Refusal]) -> tuple[Message, ...]:
    """The messages of a second request, which says what was wrong with the first answer."""
    faults = "\n".join(
        f"- {'the whole' if item.sentence is None else f'sentence {item.sentence + 1}'}: {item.detail}"
        for item in refusals
    )
    words = f"Your answer was refused:\n{faults}\nAnswer again with the whole text, as JSON alone."
    return (*asked, {"role": "assistant", "content": answer}, {"role": "user", "content": words})


def answer_schema(facts: Facts, *, plain: bool = False) -> dict[str, Any]:
    """JSON schema of an answer: a list of sentences that name phrase and facts."""
    possible: Sequence[Statement] = statements(facts, plain=plain)
    phrases = sorted({item.phrase for item in possible})
    names = sorted({name for item in possible for name in item.facts})
    sentence = {
        "type": "object",
        "properties": {
            "phrase": {"type": "string", "enum": phrases},
            "facts": {"type": "array", "items": {"type": "string", "enum": names}},
            "text": {"type": "string"},
        },
        "required": ["phrase", "facts", "text"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"sentences": {"type": "array", "items": sentence}},
        "required": ["sentences"],
        "additionalProperties": False,
    }
