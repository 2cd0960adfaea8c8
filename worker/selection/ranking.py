"""Ranks the eligible series of a study."""

from collections.abc import Sequence
from typing import Final

from worker.imaging import SeriesPlan
from worker.selection.facts import SeriesFacts

# More series cost time and add no further weighting.
MAX_SERIES: Final = 4
# How well a weighting shows a tumour; post-contrast T1 and FLAIR first (EANO guideline, Lancet Oncol 2021).
_SEQUENCE_RANK: Final = {"T1c": 0, "FLAIR": 1, "T2": 2, "T1": 3, "PD": 4, "CT": 0}
_LAST_RANK: Final = 5

# With the place of the site's rule that prefers the series, or None.
Eligible = tuple[SeriesFacts, SeriesPlan, int | None]


def ranked(eligible: Sequence[Eligible]) -> list[SeriesPlan]:
    """The plans of all eligible series, the best first, of which at most ``MAX_SERIES`` are analysed.

    The best series of each weighting precedes the second best of any; within a weighting, the series with
    more slices comes first. What a rule of the site prefers precedes all that, by the order of the rules.
    UIDs and the order of arrival decide nothing.
    """
    earlier: dict[str, int] = {}
    rounds: list[tuple[int, int, int]] = []
    last = max((place for _, _, place in eligible if place is not None), default=0) + 1
    ordered = sorted(eligible, key=lambda series: (last if series[2] is None else series[2], *_rank(series)))
    for place, (facts, _, preference) in enumerate(ordered):
        turn = earlier.get(facts.sequence, 0)
        earlier[facts.sequence] = turn + 1
        rounds.append((last if preference is None else preference, turn, place))
    return [ordered[place][1] for *_, place in sorted(rounds)]


def _rank(series: Eligible) -> tuple[object, ...]:
    facts, plan, _ = series
    derived = any(values[:1] == ("DERIVED",) for values in facts.image_types)
    rank = _SEQUENCE_RANK.get(facts.sequence, _LAST_RANK)
    # Series that are equal so far are ordered by the values of the device and by position.
    first = plan.stacks[0][0]
    return (
        rank, int(derived), -len(plan.images),
        first.of.series_order, facts.texts.get("SeriesDescription", ""),
        first.place.position_mm, first.place.orientation, first.place.spacing_mm, first.place.rows,
    )  # fmt: skip
