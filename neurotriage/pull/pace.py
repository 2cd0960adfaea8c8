"""When the next study may be pulled: hours of the day and rates, by a clock that tests can set."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from neurotriage.core.settings import PullSettings

_SECONDS_PER_HOUR = 3600.0


class Clock(Protocol):
    """The time of day of this place, and waiting."""

    def now(self) -> datetime:
        """Local time."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    def now(self) -> datetime:
        return datetime.now().astimezone()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Pace:
    """The bounds of ``[pull]``. ``on_wait`` gets the time until which is waited, and why."""

    settings: PullSettings
    clock: Clock
    on_wait: Callable[[datetime, str], object] = lambda until, why: None

    def await_window(self) -> None:
        """Wait until the hours of the day begin, where they have not."""
        opens = next_opening(self.settings, self.clock.now())
        if opens is not None:
            self._wait_until(opens, f"outside of the hours {self.settings.hours}")

    def after(self, began: datetime, images: int) -> None:
        """Wait as the rates demand after a study of ``images`` images that was begun at ``began``."""
        least_s = 0.0
        if self.settings.studies_per_hour:
            least_s = _SECONDS_PER_HOUR / self.settings.studies_per_hour
        if self.settings.images_per_s:
            least_s = max(least_s, images / self.settings.images_per_s)
        until = began + timedelta(seconds=least_s)
        if until > self.clock.now():
            self._wait_until(until, "as the rate of [pull] demands")

    def retry(self, attempt: int, why: str) -> None:
        """Wait before another try; ``attempt`` counts from 0."""
        delay = timedelta(seconds=self.settings.retry_s * 2**attempt)
        self._wait_until(self.clock.now() + delay, why)

    def _wait_until(self, until: datetime, why: str) -> None:
        self.on_wait(until, why)
        while (rest := (until - self.clock.now()).total_seconds()) > 0:
            self.clock.sleep(min(rest, 60.0))  # a clock that is set meanwhile is noticed


def next_opening(settings: PullSettings, now: datetime) -> datetime | None:
    """When the hours of ``[pull]`` begin; None where it is within them, or there are none."""
    if settings.window is None:
        return None
    begin, end = settings.window
    moment = now.time()
    inside = begin <= moment < end if begin < end else moment >= begin or moment < end
    if inside:
        return None
    opens = now.replace(hour=begin.hour, minute=begin.minute, second=0, microsecond=0)
    return opens if opens > now else opens + timedelta(days=1)
