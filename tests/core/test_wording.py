"""Counts, probabilities and times read as people say them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from neurotriage.core.wording import counted, date_and_time, percent_beside

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(("count", "words"), [(0, "0 slices"), (1, "1 slice"), (25, "25 slices")])
def test_one_thing_is_not_counted_in_the_plural(count: int, words: str) -> None:
    assert counted(count, "slice") == words


@pytest.mark.parametrize(
    ("probability", "limit", "words"),
    [
        (0.836, 0.751, "84 %"),
        (0.7505, 0.751, "just below 75 %"),
        (0.7515, 0.751, "just above 75 %"),
        (0.001, 0.002, "just below <1 %"),
    ],
)
def test_beside_a_limit_that_reads_the_same_a_probability_says_on_which_side_it_lies(
    probability: float, limit: float, words: str
) -> None:
    assert percent_beside(probability, limit) == words


@pytest.mark.parametrize(
    ("hours", "words"),
    [(1, "9 Feb 2026, 14:05 +01:00"), (-3.5, "9 Feb 2026, 09:35 -03:30"), (0, "9 Feb 2026, 13:05 UTC")],
)
def test_a_moment_is_told_in_its_own_time_zone_which_is_named(hours: float, words: str) -> None:
    moment = datetime(2026, 2, 9, 13, 5, tzinfo=UTC).astimezone(timezone(timedelta(hours=hours)))
    assert date_and_time(moment) == words
