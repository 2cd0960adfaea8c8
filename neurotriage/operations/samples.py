"""The samples of each metric, from the snapshot; none of what is not known."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeAlias

from db.operations.destinations import DestinationLoad
from db.operations.flow import Counts, Flow
from neurotriage.core.alarm_code import AlarmCode
from neurotriage.core.settings import Settings
from neurotriage.operations.facts import Section
from neurotriage.operations.readiness import not_ready
from neurotriage.operations.roles import needed_roles
from neurotriage.operations.values import Disk, Snapshot, Stored

# What went to destinations that the configuration no longer names.
NOT_CONFIGURED: Final = "not_configured"
_DAY_S: Final = 86_400.0

Sample: TypeAlias = tuple[tuple[str, ...], float]  # the values of the labels, and that of the metric
Samples: TypeAlias = Callable[[Snapshot, Settings], Iterable[Sample]]


def known(snapshot: Snapshot, _: Settings) -> Iterator[Sample]:
    """Which sections could be asked."""
    for section in Section:
        yield (section.value,), float(section not in snapshot.missing)


def alarms(snapshot: Snapshot, _: Settings) -> Iterator[Sample]:
    """Every kind of alarm."""
    counts = Counter(alarm.code for alarm in snapshot.alarms)
    for code in AlarmCode:
        yield (code.value,), float(counts[code])


def ready(snapshot: Snapshot, settings: Settings) -> Iterator[Sample]:
    """Every role that is needed."""
    for role, why in not_ready(snapshot, settings).items():
        yield (role,), float(not why)


def processes(snapshot: Snapshot, settings: Settings) -> Iterator[Sample]:
    """By role, alive and gone."""
    if snapshot.processes is None:
        return
    states = ("alive", "gone")
    counts = Counter((item.role, states[item.is_gone]) for item in snapshot.processes)
    roles = sorted({*needed_roles(settings), *(item.role for item in snapshot.processes)})
    for role in roles:
        for state in states:
            yield (role, state), float(counts[role, state])


def queue(snapshot: Snapshot, _: Settings) -> Iterator[Sample]:
    """By class."""
    for item in snapshot.queue or ():
        yield (item.priority.value, "waiting"), float(item.waiting)
        yield (item.priority.value, "analysing"), float(item.analysing)


def queue_oldest(snapshot: Snapshot, _: Settings) -> Iterator[Sample]:
    """By class."""
    for item in snapshot.queue or ():
        yield (item.priority.value,), item.oldest_waiting_s or 0.0


def backlog(snapshot: Snapshot, _: Settings) -> Iterator[Sample]:
    """None where no rate is known."""
    if snapshot.backlog is not None and snapshot.backlog.done_in_s is not None:
        yield (), snapshot.backlog.done_in_s


def studies(snapshot: Snapshot, _: Settings) -> Iterator[Sample]:
    """By stage and window."""
    for window, counts in _windows(snapshot.flow):
        yield ("received", window), float(counts.studies_received)
        yield ("analysed", window), float(counts.studies_analysed)
        yield ("failed", window), float(counts.studies_failed)
        yield ("delivered", window), float(counts.studies_delivered)


def images(snapshot: Snapshot, _: Settings) -> Iterator[Sample]:
    """By window."""
    for window, counts in _windows(snapshot.flow):
        yield (window,), float(counts.images_received)


def _windows(flow: Flow | None) -> Iterator[tuple[str, Counts]]:
    if flow is not None:
        yield from (("1h", flow.last_hour), ("24h", flow.last_day))


def hops(snapshot: Snapshot, _: Settings) -> Iterator[Sample]:
    """By hop and window; none where no study took it."""
    for hop in () if snapshot.flow is None else snapshot.flow.hops:
        for window, spread in (("1h", hop.last_hour), ("24h", hop.last_day)):
            if spread is not None:
                yield (hop.name, window, "50"), spread.p50_s
                yield (hop.name, window, "95"), spread.p95_s


def _of_destinations(
    snapshot: Snapshot,
    settings: Settings,
    value: Callable[[DestinationLoad], float],
    merge: Callable[..., float],
) -> Iterator[tuple[str, float]]:
    """One value for each configured destination, whatever stands behind its slash."""
    names = {item.name for item in settings.destination}
    values: dict[str, list[float]] = {}
    for item in snapshot.destinations or ():
        name = item.name.partition("/")[0]
        values.setdefault(name if name in names else NOT_CONFIGURED, []).append(value(item))
    for name, found in sorted(values.items()):
        yield name, float(merge(found))


def objects(snapshot: Snapshot, settings: Settings) -> Iterator[Sample]:
    """By destination."""
    states: dict[str, Callable[[DestinationLoad], float]] = {
        "waiting": lambda item: item.objects_waiting,
        "held": lambda item: item.objects_held,
        "alarmed": lambda item: item.objects_alarmed,
        "unproven": lambda item: item.objects_unproven,
    }
    for state, value in states.items():
        for name, count in _of_destinations(snapshot, settings, value, sum):
            yield (name, state), count


def sent(snapshot: Snapshot, settings: Settings) -> Iterator[Sample]:
    """By destination."""
    ends: dict[tuple[str, str], Callable[[DestinationLoad], float]] = {
        ("stored", "1h"): lambda item: item.objects_stored_last_hour,
        ("stored", "24h"): lambda item: item.objects_stored_last_day,
        ("ended", "24h"): lambda item: item.objects_ended_last_day,
    }
    for (end, window), value in ends.items():
        for name, count in _of_destinations(snapshot, settings, value, sum):
            yield (name, end, window), count


def destination_oldest(snapshot: Snapshot, settings: Settings) -> Iterator[Sample]:
    """By destination."""
    oldest = _of_destinations(snapshot, settings, lambda item: item.oldest_waiting_s or 0.0, max)
    return (((name,), age_s) for name, age_s in oldest)


def of_disk(value: Callable[[Disk], float]) -> Samples:
    """The sample of a metric without labels, from the disk."""
    return lambda snapshot, _: [] if snapshot.disk is None else [((), float(value(snapshot.disk)))]


def of_stored(value: Callable[[Stored], float | None]) -> Samples:
    """The same, from what is stored; none where the value is not known."""

    def samples(snapshot: Snapshot, _: Settings) -> Iterator[Sample]:
        found = None if snapshot.stored is None else value(snapshot.stored)
        if found is not None:
            yield (), float(found)

    return samples


def days_left_s(stored: Stored) -> float | None:
    """Seconds until nothing is received any more."""
    return None if stored.days_left is None else stored.days_left * _DAY_S
