"""Makes the snapshot of facts and settings: a pure function."""

from datetime import datetime, timedelta
from typing import Final

from db.operations.destinations import DestinationLoad
from db.operations.sizes import GROWTH_DAYS, Sizes
from neurotriage.core.process.role import Role
from neurotriage.core.settings import Settings, StorageSettings
from neurotriage.operations.alarms import standing
from neurotriage.operations.facts import DiskFacts, Facts
from neurotriage.operations.values import VERSION, Backlog, Disk, Snapshot, Stored

_DAY_S: Final = 86_400.0


def make_snapshot(facts: Facts, settings: Settings) -> Snapshot:
    """The snapshot of these facts, judged by these settings."""
    disk = None if facts.disk is None else _disk(facts.disk, settings.storage, facts.at)
    stored = None if facts.sizes is None else _stored(facts.sizes, disk, facts.at)
    return Snapshot(
        version=VERSION,
        at=facts.at,
        alarms=standing(facts, settings, disk, stored),
        queue=facts.queue,
        backlog=_backlog(facts),
        processes=facts.processes,
        flow=facts.flow,
        destinations=_with_configured(facts.destinations, settings),
        pauses=facts.pauses,
        disk=disk,
        stored=stored,
        missing=dict(facts.missing),
    )


def _backlog(facts: Facts) -> Backlog | None:
    if facts.queue is None or facts.processes is None or facts.flow is None:
        return None
    studies = sum(item.waiting + item.analysing for item in facts.queue)
    workers = sum(item.role == Role.ANALYSIS and not item.is_gone for item in facts.processes)
    each_s = facts.flow.analysis_s
    done_in_s, why = None, ""
    if not studies:
        done_in_s = 0.0
    elif not workers:
        why = "no analysis worker is alive"
    elif each_s is None:
        why = "nothing was analysed within a day, so no rate is known"
    else:
        done_in_s = studies * each_s / workers
    done_at = None if done_in_s is None else facts.at + timedelta(seconds=done_in_s)
    return Backlog(studies, workers, each_s, done_in_s, done_at, why)


def _disk(found: DiskFacts, settings: StorageSettings, at: datetime) -> Disk:
    oldest_s = None
    if found.spool_oldest_at is not None:
        oldest_s = max(0.0, (at - found.spool_oldest_at).total_seconds())
    reserved_bytes = settings.reserved_bytes(found.total_bytes)
    return Disk(found.total_bytes, found.free_bytes, reserved_bytes, found.spool_files, oldest_s)


def _stored(sizes: Sizes, disk: Disk | None, at: datetime) -> Stored:
    """A young installation is judged by its age, by a day at least: a first burst is no rate."""
    age_days = 0.0
    if sizes.first_received_at is not None:
        age_days = (at - sizes.first_received_at).total_seconds() / _DAY_S
    per_day = (sizes.received_bytes + sizes.result_bytes) / min(max(age_days, 1.0), GROWTH_DAYS)
    days_left = None
    if disk is not None and per_day > 0:
        days_left = max(0.0, (disk.free_bytes - disk.reserved_bytes) / per_day)
    return Stored(sizes.store_bytes, sizes.database_bytes, per_day, days_left, sizes.quarantined_last_day)


def _with_configured(
    found: tuple[DestinationLoad, ...] | None, settings: Settings
) -> tuple[DestinationLoad, ...] | None:
    """Also those destinations of the configuration of which there is nothing to tell."""
    if found is None:
        return None
    known = {item.name.partition("/")[0] for item in found}
    quiet = [
        DestinationLoad(item.name, 0, 0, None, None, "", 0, 0, None, 0, 0, 0)
        for item in settings.destination
        if item.name not in known
    ]
    return tuple(sorted((*found, *quiet), key=lambda item: item.name))
