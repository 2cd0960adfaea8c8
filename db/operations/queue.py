"""What waits for an analysis worker, and what is with one."""

from dataclasses import dataclass

from sqlalchemy import Connection, case, func, select

from db.studies.leases import free
from db.tables import Revision, Study
from neurotriage.core.priority import Priority
from neurotriage.core.states import RevisionState


@dataclass(frozen=True, slots=True)
class QueuedClass:
    """The studies of one priority class that wait for an analysis worker, or are with one."""

    priority: Priority
    waiting: int
    oldest_waiting_s: float | None  # None: nothing waits
    analysing: int


def queue(connection: Connection) -> tuple[QueuedClass, ...]:
    """Each class, the most urgent first. One whose worker's lease ran out waits again."""
    since = case((Revision.state == RevisionState.READY, Revision.waiting_since), else_=Revision.lease_until)
    rows = connection.execute(
        select(
            Study.priority,
            func.count().filter(free()),
            func.extract("epoch", func.clock_timestamp() - func.min(since).filter(free())),
            func.count().filter(~free()),
        )
        .join(Revision, Revision.study_id == Study.id)
        .where(Revision.state.in_((RevisionState.READY, RevisionState.ANALYSING)))
        .group_by(Study.priority)
    )
    known = {
        priority: QueuedClass(
            Priority(priority), waiting, None if oldest_s is None else max(0.0, float(oldest_s)), analysing
        )
        for priority, waiting, oldest_s, analysing in rows
    }
    return tuple(known.get(priority, QueuedClass(priority, 0, None, 0)) for priority in Priority)
