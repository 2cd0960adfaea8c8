"""The alarms that stand, by the facts and the limits of the configuration."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from db.operations.arrivals import WEEKS, PeerArrivals
from db.operations.destinations import DestinationLoad
from db.operations.processes import RunningProcess
from db.operations.queue import QueuedClass
from neurotriage.core.alarm_code import AlarmCode
from neurotriage.core.certificates import WARN_DAYS, Expiry
from neurotriage.core.priority import Priority
from neurotriage.core.settings import OperationsSettings, Settings
from neurotriage.operations.facts import Facts
from neurotriage.operations.roles import needed_roles
from neurotriage.operations.values import Alarm, Disk, Stored

_GB: Final = 1e9
# A peer sends usually in hours in which it did in so many of the last four weeks: one may hold a holiday.
_USUAL_WEEKS: Final = 3


def standing(facts: Facts, settings: Settings, disk: Disk | None, stored: Stored | None) -> tuple[Alarm, ...]:
    """Every alarm that stands, once per cause. What is not known raises ``unknown`` and no other."""
    found = (
        *_unknown(facts),
        *_processes(facts.processes, settings),
        *_queue(facts.queue, settings.operations, facts.at),
        *_failed(facts),
        *_disk(disk, stored, settings.operations, facts.at),
        *_quarantine(stored, settings.operations),
        *_silent(facts.arrivals, settings),
        *_certificates(facts.certificates, facts.at),
        *(
            alarm
            for item in facts.destinations or ()
            for alarm in _destination(item, facts.at, settings.operations)
        ),
        *_pauses(facts, settings.operations),
    )
    return tuple(_acknowledged(alarm, facts) for alarm in found)


def _acknowledged(alarm: Alarm, facts: Facts) -> Alarm:
    """The alarm with who has taken note of it, where that time is not over."""
    for row in facts.standing or ():
        if (row.code, row.subject) == (alarm.code, alarm.subject) and row.is_acknowledged(facts.at):
            return replace(
                alarm, acknowledged_by=row.acknowledged_by, acknowledged_until=row.acknowledged_until
            )
    return alarm


def _unknown(facts: Facts) -> Iterator[Alarm]:
    for why in dict.fromkeys(facts.missing.values()):
        sections = ", ".join(section for section in facts.missing if facts.missing[section] == why)
        yield Alarm(AlarmCode.UNKNOWN, sections, facts.at, None, why)


def _processes(found: tuple[RunningProcess, ...] | None, settings: Settings) -> Iterator[Alarm]:
    if found is None:
        return
    alive = {item.role for item in found if not item.is_gone}
    for role in needed_roles(settings):
        if role not in alive:
            seen = max((item.last_seen_at for item in found if item.role == role), default=None)
            yield Alarm(AlarmCode.ROLE_ABSENT, role, seen, None, f"no process of the role {role} runs")
    for item in found:
        if item.is_gone and item.role in alive:  # else its role is absent, which is told already
            name = f"{item.role} {item.host}:{item.pid}"
            text = f"it has told nothing for {item.silent_s:.0f} s, and did not end in good order"
            yield Alarm(AlarmCode.PROCESS_GONE, name, item.last_seen_at, None, text)


def _queue(
    found: tuple[QueuedClass, ...] | None, limits: OperationsSettings, at: datetime
) -> Iterator[Alarm]:
    limits_s = {Priority.URGENT: limits.urgent_alarm_s, Priority.ROUTINE: limits.routine_alarm_s}
    for item in found or ():
        limit_s = limits_s.get(item.priority)  # the backlog may wait
        if limit_s is not None and item.oldest_waiting_s is not None and item.oldest_waiting_s > limit_s:
            since = at - timedelta(seconds=item.oldest_waiting_s)
            text = f"the oldest has waited for a worker for more than {limit_s:.0f} s"
            yield Alarm(AlarmCode.QUEUE_OLD, item.priority, since, item.waiting, text)


def _failed(facts: Facts) -> Iterator[Alarm]:
    count = 0 if facts.flow is None else facts.flow.last_day.studies_failed
    if count:
        text = "studies ended failed within a day: every attempt at them failed"
        yield Alarm(AlarmCode.STUDIES_FAILED, "", None, count, text)


def _disk(
    disk: Disk | None, stored: Stored | None, limits: OperationsSettings, at: datetime
) -> Iterator[Alarm]:
    if disk is None:
        return
    if disk.spool_oldest_s is not None and disk.spool_oldest_s > limits.spool_alarm_s:
        since = at - timedelta(seconds=disk.spool_oldest_s)
        text = f"what was received has not been recorded for more than {limits.spool_alarm_s:.0f} s"
        yield Alarm(AlarmCode.SPOOL_OLD, "", since, disk.spool_files, text)
    if disk.free_bytes < disk.reserved_bytes:
        text = (
            f"{disk.free_bytes / _GB:.1f} GB are free, {disk.reserved_bytes / _GB:.1f} GB must stay free: "
            "nothing is received"
        )
        yield Alarm(AlarmCode.DISK_SHORT, "", None, None, text)
    elif stored is not None and stored.days_left is not None and stored.days_left < limits.disk_alarm_days:
        text = f"at the rate of the last days nothing can be received in {stored.days_left:.1f} days"
        yield Alarm(AlarmCode.DISK_FILLING, "", None, None, text)


def _quarantine(stored: Stored | None, limits: OperationsSettings) -> Iterator[Alarm]:
    count = 0 if stored is None else stored.quarantined_last_day
    if limits.quarantine_alarm and count > limits.quarantine_alarm:
        text = f"more than {limits.quarantine_alarm} objects were set aside within a day"
        yield Alarm(AlarmCode.QUARANTINE_GROWING, "", None, count, text)


def _silent(found: tuple[PeerArrivals, ...] | None, settings: Settings) -> Iterator[Alarm]:
    """Peers that may send, sent nothing, and did in these hours of three of the last four weeks."""
    titles = {peer.ae_title.strip() for peer in settings.peer}
    for item in found or ():
        if item.studies_now or item.weeks < _USUAL_WEEKS or (titles and item.peer not in titles):
            continue
        text = (
            f"no study came within {settings.operations.silent_alarm_h:g} h; in the same hours of the last "
            f"{WEEKS} weeks {item.studies_before} came, in {item.weeks} of them"
        )
        yield Alarm(AlarmCode.PEER_SILENT, item.peer, None, None, text)


def _certificates(found: tuple[Expiry, ...], at: datetime) -> Iterator[Alarm]:
    """One for each file, by the certificate in it that ends first."""
    first = {str(item.file): item for item in sorted(found, key=lambda item: item.ends_at, reverse=True)}
    for name, item in sorted(first.items()):
        days = item.days_left(at)
        if days < WARN_DAYS:
            text = f"it {'ended' if days < 0 else 'ends'} on {item.ends_at:%Y-%m-%d}: renew it"
            yield Alarm(AlarmCode.CERTIFICATE_ENDING, name, None, None, text)


def _destination(item: DestinationLoad, at: datetime, limits: OperationsSettings) -> Iterator[Alarm]:
    if item.objects_alarmed:
        text = item.last_answer or "objects wait for longer than [delivery] alarm_after_s"
        yield Alarm(AlarmCode.DELIVERY_WAITS, item.name, item.alarmed_since, item.objects_alarmed, text)
    if item.objects_unproven:
        text = "the destination said that it stored them, and there is no proof"
        yield Alarm(AlarmCode.DELIVERY_UNPROVEN, item.name, item.alarmed_since, item.objects_unproven, text)
    if item.held_since is not None and (at - item.held_since).total_seconds() > limits.paused_alarm_s:
        text = f"results have been held for more than {limits.paused_alarm_s:.0f} s: nobody has released them"
        yield Alarm(AlarmCode.HELD_LONG, item.name, item.held_since, item.objects_held, text)
    if item.objects_ended_last_day:
        text = "refused or given up within a day: they are sent no more unless `neurotriage retry` is called"
        yield Alarm(AlarmCode.DELIVERY_ENDED, item.name, None, item.objects_ended_last_day, text)


def _pauses(facts: Facts, limits: OperationsSettings) -> Iterator[Alarm]:
    for item in facts.pauses or ():
        if (facts.at - item.since).total_seconds() > limits.paused_alarm_s:
            text = f"it has rested for more than {limits.paused_alarm_s:.0f} s ({item.made_by})"
            yield Alarm(AlarmCode.PAUSED_LONG, item.name, item.since, None, text)
