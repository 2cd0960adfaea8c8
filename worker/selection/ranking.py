"""Which of the eligible series decide about a study."""

from collections.abc import Sequence
from typing import Final

from worker.imaging.stack import largest_group
from worker.selection.facts import SeriesFacts

# More series than this cost time and add no kind of contrast.
MAX_SERIES: Final = 4
# How plainly a weighting shows a tumour; post-contrast T1 and FLAIR lead (EANO guideline, Lancet Oncol 2021).
_SEQUENCE_RANK: Final = {"T1c": 0, "FLAIR": 1, "T2": 2, "T1": 3, "PD": 4, "CT": 0}
_LAST_RANK: Final = 5


def chosen(eligible: Sequence[SeriesFacts]) -> tuple[str, ...]:
    """UIDs of the series to analyse, best first, at most ``MAX_SERIES``.

    The best series of each weighting comes before the second best of any; within one weighting the series
    with more slices comes first.
    """
    ranked = sorted(eligible, key=_rank)
    seen: dict[str, int] = {}
    rounds: list[tuple[int, int, str]] = []
    for place, facts in enumerate(ranked):
        turn = seen.get(facts.sequence, 0)
        seen[facts.sequence] = turn + 1
        rounds.append((turn, place, facts.series_instance_uid))
    return tuple(uid for _, _, uid in sorted(rounds)[:MAX_SERIES])


def _rank(facts: SeriesFacts) -> tuple[int, int, int, str]:
    slices = len(largest_group(facts.frames))
    derived = any(values[:1] == ("DERIVED",) for values in facts.image_types)
    rank = _SEQUENCE_RANK.get(facts.sequence, _LAST_RANK)
    return rank, int(derived), -slices, facts.series_instance_uid
