"""What is due to be told of the alarms: once per cause, when it has stood, and when it has ended."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest

from db.operations.alarm_notices import Event
from db.operations.alarms import StandingAlarm
from neurotriage.core.alarm_code import AlarmCode
from neurotriage.core.settings import AlarmsSettings
from neurotriage.operations.facts import Section
from neurotriage.operations.telling.changes import KNOWN_BY, Changes, changes
from neurotriage.operations.values import Alarm
from tests.operations.made import AT

pytestmark = pytest.mark.unit

SETTINGS = AlarmsSettings(after_s=60, again_h=1, urgent=(AlarmCode.DISK_SHORT,))
SHORT = Alarm(AlarmCode.DISK_SHORT, "", None, None, "short")
WAITS = Alarm(AlarmCode.DELIVERY_WAITS, "pacs", AT, 3, "waits")


@dataclass
class Site:
    """The rows as the watch would keep them; every look is told its seconds from the start."""

    rows: tuple[StandingAlarm, ...] = ()

    def look(self, at_s: float, *alarms: Alarm, missing: tuple[Section, ...] = ()) -> Changes:
        at = AT + timedelta(seconds=at_s)
        found = changes(self.rows, alarms, missing, at, SETTINGS)
        stands = {row_id for row_id, _ in found.go_on} | set(found.not_known)
        kept = [
            replace(row, last_found_at=at if row.id in stands else row.last_found_at)
            for row in self.rows
            if row.id not in found.end
        ]
        told = {row_id for row_id, event in found.due if event is not Event.ENDED}
        kept = [replace(row, notified_at=at if row.id in told else row.notified_at) for row in kept]
        new = [_row(len(kept) + number + 1, alarm, at) for number, alarm in enumerate(found.begin)]
        self.rows = (*kept, *new)
        return found


def _row(number: int, alarm: Alarm, at: datetime) -> StandingAlarm:
    return StandingAlarm(number, alarm.code, alarm.subject, at, at, None, None, "", None)


def _events(found: Changes) -> list[Event]:
    return [event for _, event in found.due]


def test_a_cause_is_told_once_it_has_stood_for_long_enough_and_no_second_time() -> None:
    site = Site()
    assert site.look(0, WAITS).begin == (WAITS,)
    assert _events(site.look(30, WAITS)) == []
    assert _events(site.look(60, WAITS)) == [Event.BEGAN]
    assert [_events(site.look(at_s, WAITS)) for at_s in range(90, 20_000, 30)] == [[]] * 664


def test_its_end_is_told_once_it_has_been_gone_for_as_long() -> None:
    site = Site()
    for at_s in (0, 60):
        site.look(at_s, WAITS)
    assert site.look(90).end == ()
    assert _events(site.look(120)) == [Event.ENDED]
    assert site.look(150) == Changes((), (), (), (), ())


def test_one_that_comes_and_goes_is_told_once_and_its_end_once() -> None:
    site = Site()
    told = [event for at_s in range(0, 3600, 30) for event in _events(_flap(site, at_s))]
    assert told == [Event.BEGAN]
    later = [event for at_s in range(3600, 7200, 30) for event in _events(site.look(at_s))]
    assert later == [Event.ENDED]


def _flap(site: Site, at_s: int) -> Changes:
    return site.look(at_s, WAITS) if at_s % 60 == 0 else site.look(at_s)


def test_one_that_was_gone_before_it_was_told_is_never_told() -> None:
    site = Site()
    site.look(0, WAITS)
    assert [_events(site.look(at_s)) for at_s in (30, 60, 90)] == [[], [], []]
    assert site.rows == ()


def test_what_could_not_be_asked_has_neither_ended_nor_is_told_anew() -> None:
    site = Site()
    for at_s in (0, 60):
        site.look(at_s, WAITS)
    for at_s in range(90, 600, 30):
        found = site.look(at_s, missing=(Section.DESTINATIONS,))
        assert (found.not_known, found.end, found.due) == ((1,), (), ())
    assert _events(site.look(600, WAITS)) == []


def test_every_kind_of_alarm_says_by_what_it_is_known() -> None:
    assert set(KNOWN_BY) == set(AlarmCode)


def test_an_urgent_one_is_told_again_until_somebody_takes_note() -> None:
    site = Site()
    for at_s in (0, 60):
        site.look(at_s, SHORT, WAITS)
    assert _events(site.look(60 + 3599, SHORT, WAITS)) == []
    assert _events(site.look(60 + 3600, SHORT, WAITS)) == [Event.AGAIN]  # of the urgent one alone
    assert _events(site.look(60 + 3630, SHORT, WAITS)) == []
    site.rows = tuple(replace(row, acknowledged_at=AT) for row in site.rows)
    assert _events(site.look(60 + 7200, SHORT, WAITS)) == []
    until = AT + timedelta(seconds=8000)
    site.rows = tuple(replace(row, acknowledged_until=until) for row in site.rows)
    assert _events(site.look(7999, SHORT, WAITS)) == []
    assert _events(site.look(8000, SHORT, WAITS)) == [Event.AGAIN]


def test_without_a_setting_nothing_is_told_again() -> None:
    row = replace(_row(1, SHORT, AT), notified_at=AT)
    found = changes((row,), (SHORT,), (), AT + timedelta(days=9), AlarmsSettings())
    assert found.due == ()
