"""``python -m bench.summary [--json FILE] [--texts N]``: what the verifier refuses and passes, per kind.

True texts are drawn in any wording and order and without any sentence that may be left out; untrue ones are
edits of those. Exits 1 where a figure misses its limit.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Final

from bench.summary.corruptions import CORRUPTIONS
from bench.summary.made_facts import random_facts
from neurotriage.core.summary import Language, Section
from neurotriage.core.values import Outcome
from worker.summary import Facts, Proposal, verify
from worker.summary.phrases import VOCABULARIES
from worker.summary.statements import statements
from worker.summary.template import wordings

CAUGHT, PASSED, EACH_KIND = 0.995, 0.98, 0.97
IN_ANOTHER_LANGUAGE: Final = "another_language"
_TRIES: Final = 1000


def true_text(random: Random, facts: Facts, language: Language, *, plain: bool) -> list[Proposal]:
    """A text that says what is so: drawn wordings, order within sections, and optional sentences."""
    possible = statements(facts, plain=plain)
    kept = [s for s in possible if s.needed or random.random() < 0.7]
    random.shuffle(kept)
    kept.sort(key=lambda s: (list(Section).index(s.section), s.free, 0 if s.free else possible.index(s)))
    return [Proposal(s.phrase, s.facts, random.choice(wordings(s, VOCABULARIES[language]))) for s in kept]


def in_another_language(
    random: Random, facts: Facts, language: Language, text: Sequence[Proposal]
) -> list[Proposal]:
    """One sentence of the text, or all, in the other language."""
    other = next(item for item in Language if item is not language)
    chosen = range(len(text)) if random.random() < 0.3 else [random.randrange(len(text))]
    by_key = {(s.phrase, s.facts): s for s in statements(facts, plain=True)}
    return [
        Proposal(p.phrase, p.facts, wordings(by_key[p.phrase, p.facts], VOCABULARIES[other])[0])
        if n in chosen
        else p
        for n, p in enumerate(text)
    ]


def drawn(random: Random) -> tuple[Facts, Language, bool]:
    """Facts of any study, with a language and whether plain language is asked for."""
    outcome = random.choice((Outcome.PRESENT, Outcome.PRESENT, *Outcome))
    facts = random_facts(random, outcome, random.choice((0, 1, 2, 3, 4, 5)))
    return facts, random.choice(list(Language)), random.random() < 0.5


def corrupted(random: Random, kind: str) -> tuple[Facts, Language, bool, list[Proposal]]:
    """An untrue text of this kind with the facts it belies. Raises ``LookupError`` if none can be made."""
    for _ in range(_TRIES):
        facts, language, plain = drawn(random)
        text = true_text(random, facts, language, plain=plain)
        if kind == IN_ANOTHER_LANGUAGE:
            return facts, language, plain, in_another_language(random, facts, language, text)
        wrong = CORRUPTIONS[kind](random, text, language)
        if wrong is not None:
            return facts, language, plain, wrong
    raise LookupError(f"no text could be made wrong by {kind}")


def caught_by_kind(random: Random, each: int) -> Iterator[tuple[str, int]]:
    """Kind of corruption and how many of ``each`` texts were refused."""
    for kind in (*CORRUPTIONS, IN_ANOTHER_LANGUAGE):
        texts = [corrupted(random, kind) for _ in range(each)]
        yield (
            kind,
            sum(
                not verify(facts, language, text, plain=plain).accepted
                for facts, language, plain, text in texts
            ),
        )


def passed_texts(random: Random, count: int) -> int:
    """How many of ``count`` true texts were accepted."""
    passed = 0
    for _ in range(count):
        facts, language, plain = drawn(random)
        text = true_text(random, facts, language, plain=plain)
        passed += verify(facts, language, text, plain=plain).accepted
    return passed


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line per kind; 1 where a share misses its limit."""
    parser = argparse.ArgumentParser(prog="python -m bench.summary", description=__doc__)
    parser.add_argument("--texts", type=int, default=300, help="true texts, and untrue ones of each kind")
    parser.add_argument("--json", type=Path, help="write the figures into this file")
    options = parser.parse_args(arguments)
    random = Random(20)
    passed = passed_texts(random, options.texts)
    caught = Counter(dict(caught_by_kind(random, options.texts)))
    untrue = options.texts * len(caught)
    figures = {
        "n": options.texts + untrue,
        "caught_share": caught.total() / untrue,
        "passed_share": passed / options.texts,
        "by_kind": {kind: count / options.texts for kind, count in caught.items()},
    }
    print(f"true texts passed     {passed} of {options.texts} (limit {PASSED:.1%})")
    print(f"untrue texts refused  {caught.total()} of {untrue} (limit {CAUGHT:.1%})")
    for kind, count in caught.items():
        print(f"  {kind:22} {count} of {options.texts} (limit {EACH_KIND:.0%})")
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2))
    holds = (
        figures["passed_share"] >= PASSED
        and figures["caught_share"] >= CAUGHT
        and min(caught.values()) / options.texts >= EACH_KIND
    )
    return 0 if holds else 1


if __name__ == "__main__":
    raise SystemExit(main())
