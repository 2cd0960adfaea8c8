"""What changed since the last look, and what of it is due to be told: a pure function."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from db.operations.alarm_notices import Event
from db.operations.alarms import StandingAlarm
from neurotriage.core.alarm_code import AlarmCode
from neurotriage.core.settings import AlarmsSettings
from neurotriage.operations.facts import Section
from neurotriage.operations.values import Alarm

# Where one of these could not be asked, nobody knows whether such an alarm still stands.
KNOWN_BY: Final[Mapping[AlarmCode, tuple[Section, ...]]] = {
    AlarmCode.UNKNOWN: (),
    AlarmCode.ROLE_ABSENT: (Section.PROCESSES,),
    AlarmCode.PROCESS_GONE: (Section.PROCESSES,),
    AlarmCode.QUEUE_OLD: (Section.QUEUE,),
    AlarmCode.STUDIES_FAILED: (Section.FLOW,),
    AlarmCode.SPOOL_OLD: (Section.DISK,),
    AlarmCode.DISK_SHORT: (Section.DISK,),
    AlarmCode.DISK_FILLING: (Section.DISK, Section.SIZES),
    AlarmCode.QUARANTINE_GROWING: (Section.SIZES,),
    AlarmCode.PEER_SILENT: (Section.ARRIVALS,),
    AlarmCode.CERTIFICATE_ENDING: (),
    AlarmCode.DELIVERY_WAITS: (Section.DESTINATIONS,),
    AlarmCode.DELIVERY_UNPROVEN: (Section.DESTINATIONS,),
    AlarmCode.DELIVERY_ENDED: (Section.DESTINATIONS,),
    AlarmCode.HELD_LONG: (Section.DESTINATIONS,),
    AlarmCode.PAUSED_LONG: (Section.PAUSES,),
}


@dataclass(frozen=True, slots=True)
class Changes:
    """Each cause once in one of the first four; ``due`` names those of which something is to be told."""

    begin: tuple[Alarm, ...]  # not in the table yet
    go_on: tuple[tuple[int, Alarm], ...]  # id of the row, and the alarm as it is now
    not_known: tuple[int, ...]  # whether they still stand could not be asked
    end: tuple[int, ...]  # gone for long enough; those gone for less are in none
    due: tuple[tuple[int, Event], ...]  # of rows that were there before this look


def changes(
    standing: Sequence[StandingAlarm],
    alarms: Sequence[Alarm],
    missing: Collection[Section],
    at: datetime,
    settings: AlarmsSettings,
) -> Changes:
    """Compare the rows with the alarms found ``at``, by the clock that the rows have their times of.

    A cause counts as gone once it was not found for ``after_s``; one that comes and goes faster is one cause.
    """
    now = {(alarm.code, alarm.subject): alarm for alarm in alarms}
    rows = {(row.code, row.subject): row for row in standing}
    lost = {cause: row for cause, row in rows.items() if cause not in now}
    not_known = {row.id for row in lost.values() if _is_not_known(row.code, missing)}
    patience = timedelta(seconds=settings.after_s)
    end = [row for row in lost.values() if row.id not in not_known and at - row.last_found_at >= patience]
    go_on = [(row, now[cause]) for cause, row in rows.items() if cause in now]
    due: list[tuple[int, Event]] = [(row.id, Event.ENDED) for row in end if row.notified_at is not None]
    for row, _ in go_on:
        if row.notified_at is None:
            if at - row.found_at >= patience:
                due.append((row.id, Event.BEGAN))
        elif _is_told_again(row, row.notified_at, at, settings):
            due.append((row.id, Event.AGAIN))
    return Changes(
        begin=tuple(alarm for cause, alarm in now.items() if cause not in rows),
        go_on=tuple((row.id, alarm) for row, alarm in go_on),
        not_known=tuple(sorted(not_known)),
        end=tuple(row.id for row in end),
        due=tuple(due),
    )


def _is_not_known(code: str, missing: Collection[Section]) -> bool:
    """A code that this version does not know, of another version's row, is known to be gone."""
    return code in KNOWN_BY and any(section in missing for section in KNOWN_BY[AlarmCode(code)])


def _is_told_again(row: StandingAlarm, notified_at: datetime, at: datetime, settings: AlarmsSettings) -> bool:
    if not settings.again_h or row.code not in settings.urgent or row.is_acknowledged(at):
        return False
    return at - notified_at >= timedelta(hours=settings.again_h)
