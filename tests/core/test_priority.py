"""A study's class only rises by evidence, in whatever order that comes, and an admin's word stands."""

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurotriage.core.priority import Basis, Judgement, Priority, after_sent_again, combined

pytestmark = pytest.mark.unit

NOTHING = Judgement(Priority.ROUTINE, Basis.NOTHING)
STAT = Judgement(Priority.URGENT, Basis.REQUEST, "STAT")
PULLED = Judgement(Priority.BACKLOG, Basis.PEER, "[[peer]] ARCHIVE")

EVIDENCE = st.sampled_from(
    [
        NOTHING,
        STAT,
        PULLED,
        Judgement(Priority.ROUTINE, Basis.PEER),
        Judgement(Priority.URGENT, Basis.LOCATION),
    ]
)


def _all(judgements: list[Judgement], first: Judgement | None = None) -> Judgement | None:
    return reduce(combined, judgements, first)


@given(st.lists(EVIDENCE, min_size=1), st.randoms(use_true_random=False))
def test_the_order_in_which_evidence_comes_does_not_matter(
    judgements: list[Judgement], random: st.DataObject
) -> None:
    shuffled = judgements.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = _all(judgements), _all(shuffled)
    assert one is not None
    assert other is not None
    assert one.priority is other.priority
    assert one.priority.rank == min(judgement.priority.rank for judgement in judgements)


@given(st.lists(EVIDENCE, min_size=1), st.sampled_from(list(Priority)))
def test_an_admins_word_stands_whatever_comes(judgements: list[Judgement], priority: Priority) -> None:
    word = Judgement(priority, Basis.COMMAND)
    assert _all(judgements, word) == word
    assert after_sent_again(word) == word


def test_what_is_sent_again_waits_in_the_backlog_until_something_speaks_for_it() -> None:
    again = after_sent_again(NOTHING)
    assert (again.priority, again.basis) == (Priority.BACKLOG, Basis.AGAIN)
    assert combined(again, NOTHING) == again
    assert combined(again, STAT) == STAT
    assert after_sent_again(STAT) == STAT


def test_the_classes_are_ranked_from_urgent_to_backlog() -> None:
    assert [priority.rank for priority in Priority] == [0, 1, 2]
    assert next(iter(Priority)) is Priority.URGENT
