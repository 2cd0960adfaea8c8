"""Whose turn it is: urgent first, each in its turn, and nobody waits for ever."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.studies.turns import PATIENCE, Head, next_turn
from neurotriage.core.priority import Priority

pytestmark = pytest.mark.unit

ARRIVALS = st.lists(st.lists(st.sampled_from(list(Priority)), max_size=3), min_size=1, max_size=300)


class Lines:
    """The lines of the three classes, served as ``db.studies.leases.claim_next`` serves them."""

    def __init__(self) -> None:
        self.lines: dict[Priority, list[Head]] = {priority: [] for priority in Priority}
        self._ids = count(1)

    def arrive(self, priority: Priority) -> int:
        head = Head(next(self._ids), priority)
        self.lines[priority].append(head)
        return head.revision_id

    def serve(self) -> Head | None:
        heads = [line[0] for line in self.lines.values() if line]
        if not heads:
            return None
        taken = next_turn(heads)
        self.lines[taken.priority].pop(0)
        for line in self.lines.values():
            if line and line[0].priority.rank > taken.priority.rank:
                first = line[0]
                line[0] = Head(first.revision_id, first.priority, first.passed_over + 1)
        return taken


@given(ARRIVALS)
def test_everything_is_served_in_the_order_of_its_class(arrivals: list[list[Priority]]) -> None:
    lines = Lines()
    served: list[Head] = []
    came = 0
    for batch in arrivals:
        came += len([lines.arrive(priority) for priority in batch])
        served += filter(None, [lines.serve()])
    while (taken := lines.serve()) is not None:
        served.append(taken)
    assert len(served) == came
    for priority in Priority:
        ids = [head.revision_id for head in served if head.priority is priority]
        assert ids == sorted(ids)


@given(ARRIVALS)
def test_the_head_of_a_line_is_passed_over_a_bounded_number_of_times(arrivals: list[list[Priority]]) -> None:
    lines = Lines()
    bound = PATIENCE[Priority.URGENT] + len(Priority)
    for batch in arrivals:
        for priority in batch:
            lines.arrive(priority)
        taken = lines.serve()
        assert taken is None or taken.passed_over <= bound


@pytest.mark.parametrize("lower", [Priority.ROUTINE, Priority.BACKLOG])
def test_an_endless_stream_of_urgent_studies_starves_nothing(lower: Priority) -> None:
    lines = Lines()
    waiting = [lines.arrive(lower) for _ in range(10)]
    served = []
    for _ in range((PATIENCE[Priority.URGENT] + 1) * 10):
        lines.arrive(Priority.URGENT)
        taken = lines.serve()
        assert taken is not None
        served.append(taken)
    assert [head.revision_id for head in served if head.priority is lower] == waiting


def test_an_endless_stream_of_routine_studies_does_not_starve_the_backlog() -> None:
    lines = Lines()
    waiting = [lines.arrive(Priority.BACKLOG) for _ in range(10)]
    served = []
    for _ in range((PATIENCE[Priority.ROUTINE] + 1) * 10):
        lines.arrive(Priority.ROUTINE)
        served.append(lines.serve())
    assert [h.revision_id for h in served if h and h.priority is Priority.BACKLOG] == waiting


@given(st.lists(st.sampled_from([Priority.ROUTINE, Priority.BACKLOG]), max_size=200))
def test_an_urgent_study_among_others_is_always_the_next(others: list[Priority]) -> None:
    """However long others passed each other over before it came."""
    lines = Lines()
    for priority in others:
        lines.arrive(Priority.BACKLOG)
        lines.arrive(priority)
        lines.serve()
        urgent = lines.arrive(Priority.URGENT)
        taken = lines.serve()
        assert taken is not None
        assert taken.revision_id == urgent
