"""A second opinion is advice: it changes no answer, and what it says is one closed sentence."""

from dataclasses import replace

import pytest

from neurotriage.core.second_opinion import Agreement, Opinion, Verdict
from neurotriage.core.summary import Language, Section
from neurotriage.core.values import Outcome, Side
from tests.summary import made
from worker.summary import Facts, template

pytestmark = pytest.mark.unit


def _opinion(verdict: Verdict, side: Side | None = None) -> Opinion:
    return Opinion("vision", verdict, side, 0.8)


@pytest.mark.parametrize(
    ("outcome", "side", "opinion", "agreement"),
    [
        (Outcome.PRESENT, Side.LEFT, _opinion(Verdict.TUMOUR, Side.LEFT), Agreement.AGREES),
        (Outcome.PRESENT, Side.LEFT, _opinion(Verdict.TUMOUR), Agreement.AGREES),
        (Outcome.PRESENT, Side.LEFT, _opinion(Verdict.TUMOUR, Side.MIDLINE), Agreement.AGREES),
        (Outcome.PRESENT, Side.LEFT, _opinion(Verdict.TUMOUR, Side.RIGHT), Agreement.OTHER_SIDE),
        (Outcome.PRESENT, None, _opinion(Verdict.NO_TUMOUR), Agreement.OTHER_ANSWER),
        (Outcome.ABSENT, None, _opinion(Verdict.NO_TUMOUR), Agreement.AGREES),
        (Outcome.ABSENT, None, _opinion(Verdict.TUMOUR, Side.LEFT), Agreement.OTHER_ANSWER),
        (Outcome.UNDETERMINED, None, _opinion(Verdict.TUMOUR), Agreement.ALONE),
        (Outcome.PRESENT, Side.LEFT, _opinion(Verdict.UNSURE), Agreement.UNSURE),
    ],
)
def test_an_opinion_stands_in_one_way_to_our_answer(
    outcome: Outcome, side: Side | None, opinion: Opinion, agreement: Agreement
) -> None:
    assert opinion.agreement(outcome, [side] if side else []) is agreement


@pytest.mark.parametrize(
    ("facts", "opinion", "english"),
    [
        (made.PRESENT, _opinion(Verdict.TUMOUR, Side.LEFT), "agrees (80 %)."),
        (made.PRESENT, _opinion(Verdict.TUMOUR, Side.RIGHT), "sees a tumour on the right (80 %)."),
        (made.ABSENT, _opinion(Verdict.TUMOUR), "disagrees: tumour (80 %)."),
        (made.UNDETERMINED, _opinion(Verdict.NO_TUMOUR), "says no tumour (80 %)."),
        (made.PRESENT, _opinion(Verdict.UNSURE), "is unsure."),
    ],
)
def test_it_is_said_in_one_sentence_as_advice_only(facts: Facts, opinion: Opinion, english: str) -> None:
    with_it = template(replace(facts, opinion=opinion), Language.ENGLISH)
    (sentence,) = [item for item in with_it.sentences if item.phrase.startswith("opinion_")]
    assert sentence.text == f"A second model (advice only) was shown a few slices and {english}"
    assert with_it.opinion == opinion


def test_it_changes_neither_impression_nor_triage() -> None:
    for facts in (made.PRESENT, made.ABSENT, made.UNDETERMINED):
        for verdict in Verdict:
            told = template(replace(facts, opinion=_opinion(verdict)), Language.ENGLISH)
            without = template(facts, Language.ENGLISH)
            assert told.text_of(Section.IMPRESSION) == without.text_of(Section.IMPRESSION)
