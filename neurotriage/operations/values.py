"""The snapshot: how the installation stands at a moment. No wording for a terminal or a page is in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from db.operations.destinations import DestinationLoad
from db.operations.flow import Flow
from db.operations.processes import RunningProcess
from db.operations.queue import QueuedClass
from db.pauses import StandingPause
from neurotriage.core.alarm_code import AlarmCode
from neurotriage.operations.facts import Section

# Raised where a field of the document changes its meaning or goes; new fields do not raise it.
VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Alarm:
    """What somebody should look at, once per cause."""

    code: AlarmCode
    subject: str  # class, role, process, peer, file or destination; empty: the installation
    since: datetime | None  # None where nothing tells
    count: int | None  # of studies, objects or files; None where nothing is counted
    text: str  # a sentence
    acknowledged_by: str = ""  # empty: nobody has, or the time for which somebody had is over
    acknowledged_until: datetime | None = None  # None: until it ends


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits or is analysed, and when it will be done if nothing more comes.

    At the present rate: the mean time that a worker held a study in the last day, over the workers alive.
    ``done_in_s`` is None where no rate is known; ``why`` then says so.
    """

    studies: int
    analysis_workers: int
    seconds_per_study: float | None
    done_in_s: float | None
    done_at: datetime | None
    why: str


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system of the storage folder."""

    total_bytes: int
    free_bytes: int
    reserved_bytes: int  # with less free space nothing is received
    spool_files: int  # received and not recorded
    spool_oldest_s: float | None


@dataclass(frozen=True, slots=True)
class Stored:
    """What is stored, and how fast it grows."""

    store_bytes: int  # received images; of many, an estimate
    database_bytes: int
    growth_bytes_per_day: float  # images and results, mean of the last three days
    days_left: float | None  # until nothing is received any more; None: nothing grows, or the disk is unknown
    quarantined_last_day: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How the installation stands. A section is None where it cannot be had; ``missing`` says why."""

    version: int
    at: datetime
    alarms: tuple[Alarm, ...]
    queue: tuple[QueuedClass, ...] | None
    backlog: Backlog | None
    processes: tuple[RunningProcess, ...] | None
    flow: Flow | None
    destinations: tuple[DestinationLoad, ...] | None
    pauses: tuple[StandingPause, ...] | None
    disk: Disk | None
    stored: Stored | None
    missing: Mapping[Section, str]
