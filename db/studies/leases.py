"""Who works on a revision: leases with a fencing token, by the database's clock only.

A claim raises ``attempt`` and ``token`` before any work starts. Every later move needs the token, so a
worker that froze past its lease changes nothing when it wakes.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, func, or_, select, update
from sqlalchemy.dialects.postgresql import distinct_on

from db import events, pauses
from db.clock import lease_is_dead, seconds
from db.studies.turns import Head, next_turn
from db.tables import Revision, Study
from neurotriage.core.priority import Priority
from neurotriage.core.states import RevisionState

_ERROR_LIMIT = 8000


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on a revision, as long as the lease lives."""

    revision_id: int
    study_id: int
    token: int
    attempt: int


def claim(connection: Connection, revision_id: int, *, owner: str, lease_s: float) -> Lease | None:
    """Take a revision that waits, or whose lease ran out. None: somebody else holds it, or it has ended.

    Raises its ``attempt`` and ``token``; the lease lives for ``lease_s``.
    """
    row = connection.execute(
        update(Revision)
        .where(Revision.id == revision_id, free())
        .values(
            state=RevisionState.ANALYSING,
            owner=owner,
            attempt=Revision.attempt + 1,
            token=Revision.token + 1,
            lease_until=func.clock_timestamp() + seconds(lease_s),
        )
        .returning(Revision.study_id, Revision.token, Revision.attempt)
    ).one_or_none()
    if row is None:
        return None
    events.record(
        connection,
        "analysing",
        study_id=row.study_id,
        revision_id=revision_id,
        owner=owner,
        attempt=row.attempt,
    )
    return Lease(revision_id, row.study_id, row.token, row.attempt)


def claim_next(connection: Connection, *, owner: str, lease_s: float, attempts: int) -> Lease | None:
    """Take the revision whose turn it is (``db.studies.turns``), as ``claim`` does. None: none is free, or
    analysis is paused.

    One that was taken ``attempts`` times is left to ``fail_abandoned``. Waits for no other worker: what one
    has locked to claim it is left to that one.
    """
    locked: set[int] = set()
    while heads := _heads(connection, locked, attempts):
        head = next_turn(heads)
        if _lock(connection, [head.revision_id]):
            passed = [other.revision_id for other in heads if other.priority.rank > head.priority.rank]
            connection.execute(
                update(Revision)
                .where(Revision.id.in_(_lock(connection, passed)))
                .values(passed_over=Revision.passed_over + 1)
            )
            return claim(connection, head.revision_id, owner=owner, lease_s=lease_s)
        locked.add(head.revision_id)
    return None


def free() -> ColumnElement[bool]:
    """True of a revision that waits, or whose worker's lease ran out."""
    dead = and_(Revision.state == RevisionState.ANALYSING, lease_is_dead(Revision.lease_until))
    return or_(Revision.state == RevisionState.READY, dead)


def _heads(connection: Connection, locked: Collection[int], attempts: int) -> list[Head]:
    """The oldest free revision of each class, but for those in ``locked`` or out of ``attempts``."""
    since = case((Revision.state == RevisionState.READY, Revision.waiting_since), else_=Revision.lease_until)
    rows = connection.execute(
        select(Revision.id, Study.priority, Revision.passed_over)
        .ext(distinct_on(Study.priority))
        .join(Study, Study.id == Revision.study_id)
        .where(
            free(),
            Revision.attempt < attempts,
            Revision.id.not_in(locked),
            ~pauses.paused(pauses.ANALYSIS),
        )
        .order_by(Study.priority, since, Revision.id)
    )
    return [Head(row.id, Priority(row.priority), row.passed_over) for row in rows]


def _lock(connection: Connection, revision_ids: Collection[int]) -> list[int]:
    """Those of the revisions that are still free and that nobody else has locked; locked from here on."""
    if not revision_ids:
        return []
    statement = select(Revision.id).where(Revision.id.in_(revision_ids), free())
    return list(connection.execute(statement.with_for_update(skip_locked=True)).scalars())


def renew(connection: Connection, held: Lease, *, lease_s: float) -> bool:
    """Let the lease live for ``lease_s`` from now. False: it was taken over, or the revision has ended."""
    renewed = connection.execute(
        update(Revision).where(*_mine(held)).values(lease_until=func.clock_timestamp() + seconds(lease_s))
    )
    return renewed.rowcount == 1


def is_lost(connection: Connection, held: Lease) -> bool:
    """Whether somebody else has claimed the revision since. A lease that merely ran out is not lost."""
    token = connection.execute(select(Revision.token).where(Revision.id == held.revision_id)).scalar_one()
    return token != held.token


def give_back(connection: Connection, held: Lease, error: str, *, retry_in_s: float = 0.0) -> bool:
    """Leave the revision to another attempt, with the error that stopped this one.

    It waits anew, behind those of its class that wait already. ``retry_in_s`` keeps the lease for that long,
    so that nobody tries again before. Kept are the last 8000 characters of ``error``; its last line goes into
    the event. False: the lease was lost, nothing is written.
    """
    values: dict[str, Any] = {
        "state": RevisionState.READY,
        "owner": None,
        "lease_until": None,
        "waiting_since": func.clock_timestamp(),
    }
    if retry_in_s:
        values = {"lease_until": func.clock_timestamp() + seconds(retry_in_s)}
    moved = connection.execute(
        update(Revision).where(*_mine(held)).values(last_error=error[-_ERROR_LIMIT:], **values)
    )
    if moved.rowcount == 1:
        events.record(
            connection,
            "attempt_failed",
            study_id=held.study_id,
            revision_id=held.revision_id,
            attempt=held.attempt,
            error=error.strip().splitlines()[-1][:200] if error.strip() else "",
        )
    return moved.rowcount == 1


def finish(connection: Connection, held: Lease, state: RevisionState, **detail: object) -> bool:
    """End the revision in ``state``, which is the event's kind too; ``detail`` goes into the event.

    False: the lease was lost, nothing is written, and the caller must write nothing either.
    """
    moved = connection.execute(
        update(Revision)
        .where(*_mine(held))
        .values(state=state, lease_until=None, ended_at=func.clock_timestamp())
    )
    if moved.rowcount != 1:
        return False
    events.record(connection, state, study_id=held.study_id, revision_id=held.revision_id, **detail)
    return True


def _mine(held: Lease) -> tuple[ColumnElement[bool], ...]:
    return (
        Revision.id == held.revision_id,
        Revision.token == held.token,
        Revision.state == RevisionState.ANALYSING,
    )


def fail_abandoned(connection: Connection, *, attempts: int) -> int:
    """Fail revisions that used up ``attempts`` and that nobody holds; how many."""
    rows = connection.execute(
        update(Revision)
        .where(
            Revision.state.in_((RevisionState.READY, RevisionState.ANALYSING)),
            Revision.attempt >= attempts,
            lease_is_dead(Revision.lease_until),
        )
        .values(state=RevisionState.FAILED, lease_until=None, ended_at=func.clock_timestamp())
        .returning(Revision.id, Revision.study_id)
    ).all()
    for row in rows:
        events.record(connection, RevisionState.FAILED, study_id=row.study_id, revision_id=row.id)
    return len(rows)
