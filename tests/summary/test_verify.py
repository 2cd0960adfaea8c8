"""What is refused of a proposed text, and why."""

import string
import time
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from bench.summary.__main__ import caught_by_kind, drawn, passed_texts, true_text
from neurotriage.core.summary import Language
from neurotriage.core.values import Outcome
from tests.summary import made
from worker.summary import Facts, Fault, Proposal, template, verify
from worker.summary.phrases import VOCABULARIES
from worker.summary.statements import DOUBTS, statements

pytestmark = pytest.mark.unit
TWO = made.present(lesions=(made.LEFT, made.RIGHT))


def _usual(facts: Facts) -> list[Proposal]:
    return [Proposal(s.phrase, s.facts, s.text) for s in template(facts, Language.ENGLISH).sentences]


def _faults(facts: Facts, text: Sequence[Proposal]) -> list[Fault]:
    return [refusal.fault for refusal in verify(facts, Language.ENGLISH, text).refusals]


def _edited(of: Facts, name: str, **changes: object) -> list[Proposal]:
    """The usual text with one sentence changed."""
    text = _usual(of)
    place = next(n for n, item in enumerate(text) if item.phrase == name)
    text[place] = replace(text[place], **changes)  # type: ignore[arg-type]
    return text


def test_the_text_of_the_template_is_accepted_as_it_is() -> None:
    verdict = verify(TWO, Language.ENGLISH, _usual(TWO))
    assert verdict.accepted
    assert verdict.sentences == template(TWO, Language.ENGLISH).sentences


def test_a_wrong_value_is_named_with_the_right_one() -> None:
    words = "Lesion 1: on the right, 38 mm across, on slices 8-12 of 25 (MR)."
    (refusal, missing) = verify(TWO, Language.ENGLISH, _edited(TWO, "lesion", text=words)).refusals
    assert (refusal.fault, missing.fault) == (Fault.WRONG_VALUE, Fault.MISSING)
    assert refusal.detail == "side is 'on the left', not 'on the right'"


@pytest.mark.parametrize(
    ("phrase", "changes", "fault"),
    [
        ("present", {"text": "Tumour suspected by the model. Operate."}, Fault.OTHER_WORDS),
        ("present", {"phrase": "glioblastoma"}, Fault.UNKNOWN_PHRASE),
        ("present", {"phrase": "absent"}, Fault.UNTRUE),
        ("present", {"facts": ("lesion.1",)}, Fault.WRONG_FACTS),
        ("research", {"text": "Research use only, for diagnosis."}, Fault.OTHER_WORDS),
    ],
)
def test_a_sentence_is_refused_for_what_is_wrong_with_it(
    phrase: str, changes: dict[str, object], fault: Fault
) -> None:
    assert fault in _faults(TWO, _edited(TWO, phrase, **changes))


def test_a_sentence_that_is_needed_may_not_be_left_out() -> None:
    for place, item in enumerate(_usual(TWO)):
        needed = next(s for s in statements(TWO) if (s.phrase, s.facts) == (item.phrase, item.facts)).needed
        text = [other for number, other in enumerate(_usual(TWO)) if number != place]
        assert _faults(TWO, text) == ([Fault.MISSING] if needed else [])


def test_a_sentence_may_not_be_said_twice() -> None:
    text = _usual(TWO)
    assert Fault.REPEATED in _faults(TWO, [text[0], *text])


def test_limits_may_not_come_before_the_findings() -> None:
    text = _usual(TWO)
    assert _faults(TWO, [text[-1], *text[:-1]]) == [Fault.OUT_OF_ORDER]


def test_an_empty_text_is_refused() -> None:
    assert set(_faults(made.ABSENT, [])) == {Fault.MISSING}


def test_any_space_before_a_unit_is_the_same_word() -> None:
    words = "One suspected lesion on the left, 38\u202fmm across, on slices 8-12 of 25 (MR)."
    verdict = verify(made.PRESENT, Language.ENGLISH, _edited(made.PRESENT, "only_lesion", text=words))
    assert verdict.accepted
    assert "38 mm" in verdict.sentences[1].text


def test_a_long_refused_text_is_repeated_in_part_only() -> None:
    words = f"One suspected lesion {'x' * 5000}, 38 mm across, on slices 8-12 of 25 (MR)."
    (refusal, *_) = verify(
        made.PRESENT, Language.ENGLISH, _edited(made.PRESENT, "only_lesion", text=words)
    ).refusals
    assert len(refusal.detail) < 200


def test_both_languages_have_the_same_phrases_with_the_same_slots() -> None:
    english, german = (VOCABULARIES[language].phrases for language in Language)
    assert english.keys() == german.keys()

    def slots(wording: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(wording) if name}

    for phrase, wordings in english.items():
        of_all = [slots(wording) for wording in (*wordings, *german[phrase])]
        assert all(item == of_all[0] for item in of_all), phrase


def test_every_statement_has_its_phrase_in_each_language() -> None:
    random, used = Random(7), set()
    for _ in range(2000):
        facts, _, _ = drawn(random)
        used |= {statement.phrase for statement in statements(facts, plain=True)}
    used |= {f"doubt_{code.value}" for code in DOUBTS} | {"place_not_reported", "no_outline"}
    for language in Language:
        assert used == VOCABULARIES[language].phrases.keys()


def test_no_two_statements_on_a_study_have_the_same_phrase_and_facts() -> None:
    random = Random(8)
    for _ in range(500):
        facts, _, _ = drawn(random)
        keys = [(s.phrase, s.facts, tuple(s.values.items())) for s in statements(facts, plain=True)]
        assert len(keys) == len(set(keys))


def test_what_is_true_of_one_study_is_not_accepted_of_another() -> None:
    random, accepted = Random(9), 0
    for _ in range(300):
        (facts, language, plain), (other, _, _) = drawn(random), drawn(random)
        if facts.outcome is other.outcome is not Outcome.PRESENT:
            continue
        text = true_text(random, facts, language, plain=plain)
        accepted += facts != other and verify(other, language, text, plain=plain).accepted
    assert accepted == 0


def test_untrue_texts_of_every_kind_are_refused_and_true_ones_pass() -> None:
    random = Random(10)
    assert passed_texts(random, 60) == 60
    assert dict(caught_by_kind(random, 60)) == dict.fromkeys(dict(caught_by_kind(Random(1), 1)), 60)


def test_only_free_sentences_may_change_places_within_a_section() -> None:
    facts = made.present(earlier_outcome=Outcome.ABSENT, images_left_out=2)
    text = _usual(facts)
    place = {item.phrase: n for n, item in enumerate(text)}
    swapped = list(text)
    one, two = place["present"], place["other_outcome"]
    swapped[one], swapped[two] = text[two], text[one]
    assert _faults(facts, swapped) == [Fault.OUT_OF_ORDER]
    swapped = list(text)
    one, two = place["probability"], place["images_left_out"]
    swapped[one], swapped[two] = text[two], text[one]
    assert _faults(facts, swapped) == []


def test_a_hostile_text_is_judged_at_once() -> None:
    words = "One suspected lesion " + ", on (" * 4000
    began_s = time.monotonic()
    verify(made.PRESENT, Language.ENGLISH, _edited(made.PRESENT, "only_lesion", text=words) * 60)
    assert time.monotonic() - began_s < 2
