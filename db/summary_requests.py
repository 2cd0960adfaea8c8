"""Studies about which models of others are asked: who asks, how often, and what became of it.

Times are those of the database's clock, so that several workers keep one rate and one pause.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, case, func, insert, or_, select, text, update

from db import events
from db.clock import lease_is_dead, seconds
from db.tables import AnalysisRow, SummaryExchange, SummaryRequest
from neurotriage.core.states import SummaryState

# One number for the whole product, unlike any other advisory lock in this database.
_ASKING_LOCK: Final = 0x61736B73
_MINUTE_S: Final = 60.0
_LEAST_SHARE: Final = 0.1  # of its time that a request must have left
_LATE: Final = "nobody was asked in time"
_DIED: Final = "the worker that asked ended before it was done"


@dataclass(frozen=True, slots=True)
class HeldRequest:
    """The right to have a text arranged, as long as the lease lives."""

    id: int
    analysis_id: int
    study_id: int
    revision_id: int
    token: int
    left_s: float  # of the time that the study may wait for it


def place(connection: Connection, analysis_id: int) -> int:
    """Ask for a text about an analysis; the id of the request."""
    return connection.execute(
        insert(SummaryRequest).values(analysis_id=analysis_id).returning(SummaryRequest.id)
    ).scalar_one()


def claim_next(
    connection: Connection, *, owner: str, wait_s: float, lease_s: float, attempts: int
) -> HeldRequest | None:
    """Take the oldest request that waits, or whose worker died; None: there is none.

    Left alone is what is nearly as old as ``wait_s`` or was taken ``attempts`` times: see ``expire``. Waits
    for no other worker.
    """
    oldest = (
        select(SummaryRequest.id)
        .where(_free(), SummaryRequest.attempt < attempts, ~_is_late(wait_s))
        .order_by(SummaryRequest.created_at, SummaryRequest.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    row = connection.execute(
        update(SummaryRequest)
        .where(SummaryRequest.id == oldest, AnalysisRow.id == SummaryRequest.analysis_id)
        .values(
            state=SummaryState.ASKING,
            owner=owner,
            attempt=SummaryRequest.attempt + 1,
            token=SummaryRequest.token + 1,
            lease_until=func.clock_timestamp() + seconds(lease_s),
        )
        .returning(
            SummaryRequest.id,
            SummaryRequest.analysis_id,
            AnalysisRow.study_id,
            AnalysisRow.revision_id,
            SummaryRequest.token,
            (wait_s - _age_s()).label("left"),
        )
    ).one_or_none()
    if row is None:
        return None
    return HeldRequest(row.id, row.analysis_id, row.study_id, row.revision_id, row.token, float(row.left))


def renew(connection: Connection, held: HeldRequest, *, lease_s: float) -> bool:
    """Let the lease live for ``lease_s`` from now. False: it was taken over, or the request has ended."""
    renewed = connection.execute(
        update(SummaryRequest)
        .where(*_mine(held))
        .values(lease_until=func.clock_timestamp() + seconds(lease_s))
    )
    return renewed.rowcount == 1


def finish(
    connection: Connection,
    held: HeldRequest,
    state: SummaryState,
    reason: str = "",
    opinion_reason: str = "",
) -> bool:
    """End a request. False: somebody else has claimed it since, nothing is written."""
    ended = connection.execute(
        update(SummaryRequest)
        .where(*_mine(held))
        .values(
            state=state,
            reason=reason,
            opinion_reason=opinion_reason,
            lease_until=None,
            ended_at=func.clock_timestamp(),
        )
    )
    if ended.rowcount == 1:
        events.record(
            connection,
            f"text_{state}",
            study_id=held.study_id,
            revision_id=held.revision_id,
            reason="; ".join(filter(None, (reason, opinion_reason))),
        )
    return ended.rowcount == 1


def cancel(connection: Connection, study_id: int, reason: str) -> None:
    """End what waits or is asked about a study; whoever asks writes no text any more."""
    rows = connection.execute(
        update(SummaryRequest)
        .where(
            SummaryRequest.ended_at.is_(None),
            AnalysisRow.id == SummaryRequest.analysis_id,
            AnalysisRow.study_id == study_id,
        )
        .values(
            state=SummaryState.OVERTAKEN, reason=reason, lease_until=None, ended_at=func.clock_timestamp()
        )
        .returning(AnalysisRow.revision_id)
    ).scalars()
    for revision_id in rows.all():
        events.record(
            connection,
            f"text_{SummaryState.OVERTAKEN}",
            study_id=study_id,
            revision_id=revision_id,
            reason=reason,
        )


def expire(connection: Connection, *, wait_s: float, attempts: int) -> int:
    """End what nobody asked within ``wait_s``, or what was taken ``attempts`` times; how many."""
    reason = case((SummaryRequest.attempt > 0, _DIED), else_=_LATE)
    rows = connection.execute(
        update(SummaryRequest)
        .where(
            _free(),
            or_(_is_late(wait_s), SummaryRequest.attempt >= attempts),
            AnalysisRow.id == SummaryRequest.analysis_id,
        )
        .values(state=SummaryState.LATE, reason=reason, lease_until=None, ended_at=func.clock_timestamp())
        .returning(AnalysisRow.study_id, AnalysisRow.revision_id, SummaryRequest.reason)
    ).all()
    for row in rows:
        events.record(
            connection,
            f"text_{SummaryState.LATE}",
            study_id=row.study_id,
            revision_id=row.revision_id,
            reason=row.reason,
        )
    return len(rows)


def to_ring(connection: Connection, *, every_s: float) -> list[int]:
    """Ids of the revisions about which to ask, but for those that were rung for within ``every_s``."""
    quiet = or_(
        SummaryRequest.rung_at.is_(None), SummaryRequest.rung_at < func.clock_timestamp() - seconds(every_s)
    )
    rows = connection.execute(
        update(SummaryRequest)
        .where(_free(), quiet)
        .values(rung_at=func.clock_timestamp())
        .returning(SummaryRequest.analysis_id)
    ).scalars()
    about = select(AnalysisRow.revision_id).where(AnalysisRow.id.in_(rows.all()))
    return sorted(connection.execute(about).scalars())


class Purpose(StrEnum):
    """What a provider is asked for."""

    TEXT = "text"
    OPINION = "opinion"


@dataclass(frozen=True, slots=True)
class Turn:
    """Whether a request may be made now: then ``exchange_id``, else after how many seconds, or why not."""

    exchange_id: int | None
    wait_s: float = 0.0
    paused: bool = False


def take_turn(
    connection: Connection,
    request_id: int,
    purpose: Purpose,
    request: Sequence[Mapping[str, Any]],
    *,
    per_minute: int,
    failures: int,
    pause_s: float,
) -> Turn:
    """The right to make one request to a provider for one purpose, which counts and is kept at once.

    At most ``per_minute`` are made in any minute, by all workers together. After ``failures`` in a row none
    is made for ``pause_s``; then one tries again, and nobody else until it has ended.
    """
    connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _ASKING_LOCK})
    age_s = func.extract("epoch", func.clock_timestamp() - SummaryExchange.asked_at)
    last = connection.execute(
        select(SummaryExchange.fault, SummaryExchange.took_s, age_s.label("age_s"))
        .where(SummaryExchange.purpose == purpose)
        .order_by(SummaryExchange.id.desc())
        .limit(max(2 * failures, per_minute))
    ).all()
    ended = [row for row in last if row.took_s is not None]
    if len(ended) >= failures and all(row.fault for row in ended[:failures]):
        under_way = any(row.took_s is None and row.age_s < pause_s for row in last)
        if ended[0].age_s < pause_s or under_way:
            return Turn(None, paused=True)
    if len(last) >= per_minute and last[per_minute - 1].age_s < _MINUTE_S:
        return Turn(None, wait_s=_MINUTE_S - float(last[per_minute - 1].age_s))
    values = {"request_id": request_id, "purpose": purpose, "request": list(request)}
    exchange_id = connection.execute(
        insert(SummaryExchange).values(values).returning(SummaryExchange.id)
    ).scalar_one()
    return Turn(exchange_id)


def end_turn(
    connection: Connection,
    exchange_id: int,
    *,
    took_s: float,
    answer: str | None,
    fault: str | None = None,
    detail: str = "",
) -> None:
    """Write what came of a request to the provider."""
    values = {"took_s": took_s, "answer": answer, "fault": fault, "detail": detail}
    connection.execute(update(SummaryExchange).where(SummaryExchange.id == exchange_id).values(values))


def refuse(
    connection: Connection,
    exchange_id: int,
    refusals: Sequence[Mapping[str, Any]],
    fault: str | None,
    detail: str,
) -> None:
    """Write what of an answer was refused, or that it was none."""
    values = {"refusals": list(refusals), "fault": fault, "detail": detail}
    connection.execute(update(SummaryExchange).where(SummaryExchange.id == exchange_id).values(values))


@dataclass(frozen=True, slots=True)
class Asked:
    """What became of one request, with every exchange of it in the order in which they were made."""

    state: SummaryState
    reason: str
    opinion_reason: str
    created_at: datetime
    ended_at: datetime | None
    exchanges: tuple[dict[str, Any], ...]


def of_study(connection: Connection, study_id: int) -> tuple[Asked, ...]:
    """All that models of others were asked about a study, the oldest first."""
    requests = connection.execute(
        select(SummaryRequest.__table__)
        .join(AnalysisRow, AnalysisRow.id == SummaryRequest.analysis_id)
        .where(AnalysisRow.study_id == study_id)
        .order_by(SummaryRequest.id)
    ).all()
    columns = [column for column in SummaryExchange.__table__.c if column.name not in ("id", "request_id")]
    return tuple(
        Asked(
            SummaryState(row.state),
            row.reason,
            row.opinion_reason,
            row.created_at,
            row.ended_at,
            tuple(
                dict(exchange)
                for exchange in connection.execute(
                    select(*columns).where(SummaryExchange.request_id == row.id).order_by(SummaryExchange.id)
                ).mappings()
            ),
        )
        for row in requests
    )


def _mine(held: HeldRequest) -> tuple[ColumnElement[bool], ...]:
    return (
        SummaryRequest.id == held.id,
        SummaryRequest.token == held.token,
        SummaryRequest.state == SummaryState.ASKING,
    )


def _free() -> ColumnElement[bool]:
    """True of a request that waits, or whose worker's lease ran out."""
    dead = and_(SummaryRequest.state == SummaryState.ASKING, lease_is_dead(SummaryRequest.lease_until))
    return and_(SummaryRequest.ended_at.is_(None), or_(SummaryRequest.state == SummaryState.WAITING, dead))


def _is_late(wait_s: float) -> ColumnElement[bool]:
    """True where too little time is left: a provider would be blamed for an answer that nobody awaits."""
    return _age_s() >= (1 - _LEAST_SHARE) * wait_s


def _age_s() -> ColumnElement[Any]:
    return func.extract("epoch", func.clock_timestamp() - SummaryRequest.created_at)
