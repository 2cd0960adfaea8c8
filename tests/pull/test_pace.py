"""When the next study may be pulled, by a clock that the test sets."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from neurotriage.core.settings import PullSettings
from neurotriage.pull.pace import Pace, next_opening

pytestmark = pytest.mark.unit

NOON = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)


class VirtualClock:
    def __init__(self, now: datetime) -> None:
        self.time = now

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.time += timedelta(seconds=seconds)


def test_outside_of_the_hours_it_waits_until_they_begin() -> None:
    clock = VirtualClock(NOON)
    told: list[datetime] = []
    Pace(PullSettings(hours="19:00-06:00"), clock, lambda until, _: told.append(until)).await_window()
    assert clock.time == NOON.replace(hour=19) == told[0]


@pytest.mark.parametrize(
    ("hours", "hour", "open_"),
    [
        ("19:00-06:00", 23, True),
        ("19:00-06:00", 5, True),
        ("19:00-06:00", 6, False),
        ("19:00-06:00", 19, True),
        ("08:00-17:00", 7, False),
        ("08:00-17:00", 16, True),
        ("08:00-17:00", 17, False),
        ("", 3, True),
    ],
)
def test_the_hours_may_pass_midnight(hours: str, hour: int, open_: bool) -> None:
    opening = next_opening(PullSettings(hours=hours), NOON.replace(hour=hour))
    assert (opening is None) == open_


@given(st.times(), st.times(), st.integers(0, 365 * 1440))
def test_the_next_opening_is_within_a_day_and_is_open(begin: object, end: object, minutes: int) -> None:
    text = f"{begin:%H:%M}-{end:%H:%M}"
    if f"{begin:%H:%M}" == f"{end:%H:%M}":
        return
    now = NOON + timedelta(minutes=minutes)
    opening = next_opening(PullSettings(hours=text), now)
    if opening is not None:
        assert timedelta(0) < opening - now <= timedelta(days=1)
        assert next_opening(PullSettings(hours=text), opening) is None


@pytest.mark.parametrize(
    ("rate", "images", "waited_s"),
    [
        ({"studies_per_hour": 60}, 500, 60),
        ({"images_per_s": 10}, 500, 50),
        ({"studies_per_hour": 60, "images_per_s": 1}, 500, 500),
        ({}, 500, 0),
    ],
)
def test_a_rate_is_kept_from_begin_to_begin(rate: dict[str, float], images: int, waited_s: int) -> None:
    clock = VirtualClock(NOON)
    Pace(PullSettings(**rate), clock).after(NOON, images)
    assert clock.time - NOON == timedelta(seconds=waited_s)


@pytest.mark.parametrize("hours", ["19-6", "25:00-06:00", "19:00-19:00", "19:00", "always"])
def test_hours_that_are_none_stop_the_start(hours: str) -> None:
    with pytest.raises(ValidationError, match="window of the day"):
        PullSettings(hours=hours)
