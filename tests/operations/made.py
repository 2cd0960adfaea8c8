"""Facts of an installation in which all is well, to be changed by a test."""

from datetime import UTC, datetime, timedelta

from db.operations.destinations import DestinationLoad
from db.operations.flow import Counts, Flow, Hop, Spread
from db.operations.processes import LoadedModel, RunningProcess
from db.operations.queue import QueuedClass
from db.operations.sizes import Sizes
from db.pauses import StandingPause
from neurotriage.core.priority import Priority
from neurotriage.core.settings import Destination, Settings, StorageSettings
from neurotriage.operations.facts import DiskFacts, Facts

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
GB = 10**9
SETTINGS = Settings(
    storage=StorageSettings(min_free_bytes=10 * GB),
    destination=(Destination(name="pacs", ae_title="PACS", host="10.1.2.3", port=104),),
)


def process(role: str, *, pid: int = 7, silent_s: float = 3.0) -> RunningProcess:
    models = (LoadedModel("mr", "0.3.0", "openvino"),) if role == "analysis" else ()
    seen_at = AT - timedelta(seconds=silent_s)
    return RunningProcess(
        "host1",
        role,
        pid,
        "0.1.0",
        AT - timedelta(hours=2),
        seen_at,
        silent_s,
        "cpu" if models else "",
        models,
    )


def load(name: str = "pacs", **changes: object) -> DestinationLoad:
    values: dict[str, object] = {
        "objects_waiting": 0,
        "oldest_waiting_s": None,
        "last_answer": "",
        "objects_held": 0,
        "held_since": None,
        "objects_alarmed": 0,
        "objects_unproven": 0,
        "alarmed_since": None,
        "objects_stored_last_hour": 80,
        "objects_stored_last_day": 800,
        "objects_ended_last_day": 0,
    }
    return DestinationLoad(name, **{**values, **changes})  # type: ignore[arg-type]


def paused(name: str, for_s: float) -> StandingPause:
    return StandingPause(name, AT - timedelta(seconds=for_s), None, "command by test", "maintenance")


def waiting(priority: Priority, count: int, oldest_s: float | None, analysing: int = 0) -> QueuedClass:
    return QueuedClass(priority, count, oldest_s, analysing)


COUNTS = Counts(10, 300, 9, 0, 8)
FLOW = Flow(
    COUNTS,
    COUNTS,
    (
        Hop("image_to_ready", Spread(9, 3.0, 5.0), Spread(9, 3.0, 5.0)),
        Hop("ready_to_analysed", Spread(9, 3.1, 70.0), Spread(9, 3.1, 7000.0)),
        Hop("analysed_to_delivered", None, Spread(1, 1.0, 1.0)),
        Hop("delivered_to_proven", None, None),
    ),
    4.0,
)
WELL = Facts(
    at=AT,
    queue=(
        waiting(Priority.URGENT, 1, 4.0, 1),
        waiting(Priority.ROUTINE, 4, 60.0),
        waiting(Priority.BACKLOG, 0, None),
    ),
    processes=(
        process("analysis", pid=7),
        process("analysis", pid=8),
        process("delivery"),
        process("listen"),
    ),
    flow=FLOW,
    destinations=(load(),),
    sizes=Sizes(500 * GB, 3 * GB, 27 * GB, 3 * GB, AT - timedelta(days=40), 2),
    standing=(),
    arrivals=(),
    disk=DiskFacts(1000 * GB, 210 * GB, 3, AT - timedelta(seconds=2)),
)
EMPTY = Facts(
    at=AT,
    queue=tuple(waiting(priority, 0, None) for priority in Priority),
    processes=(),
    flow=Flow(
        Counts(0, 0, 0, 0, 0), Counts(0, 0, 0, 0, 0), tuple(Hop(h.name, None, None) for h in FLOW.hops), None
    ),
    destinations=(),
    sizes=Sizes(0, 9_000_000, 0, 0, None, 0),
    standing=(),
    arrivals=(),
    disk=DiskFacts(1000 * GB, 900 * GB, 0, None),
)
