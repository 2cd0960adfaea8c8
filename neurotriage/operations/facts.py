"""What is known of the installation at a moment, as tables and disk say it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from db.operations.alarms import StandingAlarm
from db.operations.arrivals import PeerArrivals
from db.operations.destinations import DestinationLoad
from db.operations.flow import Flow
from db.operations.processes import RunningProcess
from db.operations.queue import QueuedClass
from db.operations.sizes import Sizes
from db.pauses import StandingPause
from neurotriage.core.certificates import Expiry


class Section(StrEnum):
    """The parts of the facts; each can be missing on its own."""

    QUEUE = "queue"
    PROCESSES = "processes"
    FLOW = "flow"
    DESTINATIONS = "destinations"
    SIZES = "sizes"
    PAUSES = "pauses"
    STANDING = "standing"
    ARRIVALS = "arrivals"
    DISK = "disk"


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """The file system of the storage folder, and what lies in the spools unrecorded."""

    total_bytes: int
    free_bytes: int
    spool_files: int
    spool_oldest_at: datetime | None  # by the clock of the host that received it


@dataclass(frozen=True, slots=True)
class Facts:
    """Each section, or None with the reason in ``missing``."""

    at: datetime
    queue: tuple[QueuedClass, ...] | None = None
    processes: tuple[RunningProcess, ...] | None = None
    flow: Flow | None = None
    destinations: tuple[DestinationLoad, ...] | None = None
    sizes: Sizes | None = None
    pauses: tuple[StandingPause, ...] | None = None
    standing: tuple[StandingAlarm, ...] | None = None  # as the watch has noted them
    arrivals: tuple[PeerArrivals, ...] | None = None  # none asked for: empty
    disk: DiskFacts | None = None
    certificates: tuple[Expiry, ...] = ()  # of those files that this host has and may read
    missing: Mapping[Section, str] = field(default_factory=dict)
