"""The ledger of deliveries: one row per object and destination, one sender per destination."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, and_, case, exists, func, or_, select, update

from db import events, pauses
from db.clock import seconds
from db.delivery.destinations import SendingRight, held
from db.priority import rank
from db.tables import AnalysisRow, Delivery, DestinationLease, ResultObjectRow, Revision, Study
from neurotriage.core.priority import Priority
from neurotriage.core.states import DeliveryState
from neurotriage.core.values import NoteKind

_STATUS_LIMIT = 500
# How the status of what somebody cancelled begins (``db.studies.cancel``).
CANCELLED_BY: Final = "cancelled by "
# The columns of a delivery that starts anew.
FRESH: Final = {
    "attempts": 0,
    "failures": 0,
    "waiting_since": func.clock_timestamp(),
    "alarmed_at": None,
    "proof_tries": 0,
    "proof_due_at": None,
    "commitment_uid": None,
    "commitment_ae_title": None,
    "committed_at": None,
    "found_at": None,
}


@dataclass(frozen=True, slots=True)
class DueDelivery:
    """An object that is to be sent to a destination, or to be proven there."""

    id: int
    study_id: int
    revision_id: int
    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    path: str  # below the storage root
    size_bytes: int
    attempts: int
    failures: int
    proof_tries: int
    commitment_uid: str | None
    resends: int = 0
    tried: bool = False  # it was sent before, so it may be there whatever was answered
    priority: Priority = Priority.ROUTINE  # of its study


@dataclass(frozen=True, slots=True)
class Alarm:
    """A cause for which objects have waited for long at a destination."""

    status: str
    objects: int
    fresh: bool  # nothing waited under alarm for this cause at this destination before


def due(
    connection: Connection, destination: str, *, limit: int = 200, oldest_first: bool = False
) -> list[DueDelivery]:
    """At most ``limit`` deliveries that wait for a destination and are due, study by study.

    The most urgent studies come first, of a class the oldest; ``oldest_first``: whatever their class. None
    while the destination is paused.
    ``sending`` counts as waiting: its sender is gone, or it would hold the lease. The UIDs of results are
    derived, so sending one twice is harmless.
    """
    waits = (
        Delivery.destination == destination,
        Delivery.state.in_((DeliveryState.WAITING, DeliveryState.SENDING)),
        Delivery.next_try_at <= func.clock_timestamp(),
        ~pauses.paused(destination),
    )
    return deliveries(connection, *waits, limit=limit, oldest_first=oldest_first)


def deliveries(
    connection: Connection, *where: ColumnElement[bool], limit: int = 200, oldest_first: bool = False
) -> list[DueDelivery]:
    """At most ``limit`` deliveries that meet all conditions, study by study, in the order of ``due``.

    ``where`` may name ``Delivery``, ``ResultObjectRow``, ``AnalysisRow`` and ``Study``.
    """
    rows = connection.execute(
        select(
            Delivery.id,
            AnalysisRow.study_id,
            AnalysisRow.revision_id,
            Study.study_instance_uid,
            ResultObjectRow.series_instance_uid,
            ResultObjectRow.sop_class_uid,
            ResultObjectRow.sop_instance_uid,
            ResultObjectRow.path,
            ResultObjectRow.size_bytes,
            Delivery.attempts,
            Delivery.failures,
            Delivery.proof_tries,
            Delivery.commitment_uid,
            Delivery.resends,
            or_(Delivery.attempts > 0, Delivery.last_status != "").label("tried"),
            Study.priority,
        )
        .join(ResultObjectRow, ResultObjectRow.id == Delivery.result_object_id)
        .join(AnalysisRow, AnalysisRow.id == ResultObjectRow.analysis_id)
        .join(Study, Study.id == AnalysisRow.study_id)
        .where(*where)
        .order_by(*([] if oldest_first else [rank()]), AnalysisRow.id, Delivery.id)
        .limit(limit)
    )
    return [DueDelivery(**{**row._mapping, "priority": Priority(row.priority)}) for row in rows]


def begin(connection: Connection, right: SendingRight, delivery_id: int) -> bool:
    """Mark a delivery as being sent; one attempt more.

    False: the right was lost, it was cancelled, or the destination was paused.
    """
    moved = connection.execute(
        update(Delivery)
        .where(
            Delivery.id == delivery_id,
            Delivery.state.in_((DeliveryState.WAITING, DeliveryState.SENDING)),
            exists().where(*held(right)),
            ~pauses.paused(right.destination),
        )
        .values(state=DeliveryState.SENDING, attempts=Delivery.attempts + 1)
    )
    return moved.rowcount == 1


def settle(
    connection: Connection,
    right: SendingRight,
    delivery: DueDelivery,
    state: DeliveryState,
    status: str,
    *,
    retry_in_s: float = 0.0,
    prove: bool = False,
    failures: int = 0,
    comment: str = "",
) -> bool:
    """Write how sending an object ended. False: the right was lost, and the next holder will settle it.

    A delivery that was cancelled while it was sent does not wait again. ``status``: the answer in our words,
    of which 500 characters are kept; ``comment``: in the destination's own, bounded by the caller. ``prove``:
    look for a proof of what is stored. ``failures`` replaces the count of answers that speak against the
    object.
    """
    now = func.clock_timestamp()
    values: dict[str, Any] = {
        "next_try_at": now + seconds(retry_in_s),
        "failures": failures,
        "comment": comment,
    }
    if state is DeliveryState.WAITING:
        cancelled = Delivery.state == DeliveryState.GIVEN_UP
        text = case((cancelled, Delivery.last_status), else_=status[:_STATUS_LIMIT])
        values |= {"state": case((cancelled, Delivery.state), else_=state), "last_status": text}
    else:
        values |= {"state": state, "last_status": status[:_STATUS_LIMIT]}
    if state is DeliveryState.STORED:
        # What got lost once keeps its alarm until there is a proof.
        alarm = case((Delivery.resends > 0, Delivery.alarmed_at), else_=None)
        values |= {"stored_at": now, "alarmed_at": alarm, "proof_due_at": now if prove else None}
    moved = connection.execute(
        update(Delivery).where(Delivery.id == delivery.id, exists().where(*held(right))).values(**values)
    )
    if moved.rowcount != 1:
        return False
    if state is not DeliveryState.WAITING:
        events.record(
            connection,
            state,
            study_id=delivery.study_id,
            revision_id=delivery.revision_id,
            destination=right.destination,
            sop_instance_uid=delivery.sop_instance_uid,
        )
    return True


def alarm(
    connection: Connection, destination: str, deliveries: Collection[DueDelivery], *, after_s: float
) -> list[Alarm]:
    """Raise the alarm, once, for those of the deliveries that have waited for ``after_s``; a cause each.

    A cause is the sentence of the last answer. An event is recorded per study and cause.
    """
    raised = Delivery.alarmed_at.is_not(None)
    waits = (Delivery.destination == destination, Delivery.state == DeliveryState.WAITING)
    known = set(connection.execute(select(Delivery.last_status).where(*waits, raised).distinct()).scalars())
    rows = connection.execute(
        update(Delivery)
        .where(
            *waits,
            ~raised,
            Delivery.id.in_([item.id for item in deliveries]),
            Delivery.waiting_since <= func.clock_timestamp() - seconds(after_s),
        )
        .values(alarmed_at=func.clock_timestamp())
        .returning(Delivery.id, Delivery.last_status)
    ).all()
    causes = {row.id: row.last_status for row in rows}
    late = [item for item in deliveries if item.id in causes]
    studies = Counter((item.study_id, item.revision_id, causes[item.id]) for item in late)
    for (study_id, revision_id, status), count in studies.items():
        events.record(
            connection,
            "delivery_alarm",
            study_id=study_id,
            revision_id=revision_id,
            destination=destination,
            objects=count,
            status=status,
        )
    return [Alarm(status, count, status not in known) for status, count in Counter(causes.values()).items()]


def hold_revisions(connection: Connection, revision_ids: Select[Any]) -> None:
    """Keep others from replacing or withdrawing these revisions until the transaction ends.

    For whoever lets results be sent again: what is read after this call is true until then.
    """
    connection.execute(
        select(Revision.id)
        .where(Revision.id.in_(revision_ids))
        .order_by(Revision.id)
        .with_for_update(read=True)
    )


def retry(
    connection: Connection, *, study_ids: Collection[int] | None = None, destination: str | None = None
) -> int:
    """Let deliveries wait again that were refused, given up or lost, and try waiting ones now; how many.

    Results that newer ones replaced stay as they are, and what somebody cancelled does where its study is
    not named. ``None`` means every study or every destination; a destination stands for those behind its
    slash too. Pauses of queries at these destinations end. Locks the deliveries.
    """
    lost = and_(Delivery.state == DeliveryState.STORED, Delivery.alarmed_at.is_not(None))
    ended = Delivery.state.in_((DeliveryState.REFUSED, DeliveryState.GIVEN_UP))
    wanted = (
        select(Delivery.id, Delivery.destination, AnalysisRow.study_id)
        .join(ResultObjectRow, ResultObjectRow.id == Delivery.result_object_id)
        .join(AnalysisRow, AnalysisRow.id == ResultObjectRow.analysis_id)
        .join(Revision, Revision.id == AnalysisRow.revision_id)
        .where(
            or_(ended, lost, Delivery.state == DeliveryState.WAITING),
            or_(
                ~(Revision.superseded | ResultObjectRow.superseded),
                ResultObjectRow.kind == NoteKind.REJECTION,
            ),
        )
    )
    if study_ids is not None:
        wanted = wanted.where(AnalysisRow.study_id.in_(study_ids))
    else:
        cancelled = Delivery.last_status.startswith(CANCELLED_BY) & (Delivery.state == DeliveryState.GIVEN_UP)
        wanted = wanted.where(~cancelled)
    if destination is not None:
        named = or_(
            Delivery.destination == destination,
            Delivery.destination.startswith(f"{destination}/", autoescape=True),
        )
        wanted = wanted.where(named)
    hold_revisions(connection, wanted.with_only_columns(AnalysisRow.revision_id))
    rows = connection.execute(wanted.with_for_update(of=Delivery)).all()
    connection.execute(
        update(Delivery)
        .where(Delivery.id.in_([row.id for row in rows]))
        .values(state=DeliveryState.WAITING, **FRESH, next_try_at=func.clock_timestamp(), resends=0)
    )
    connection.execute(
        update(DestinationLease)
        .where(DestinationLease.destination.in_({row.destination for row in rows}))
        .values(no_queries_until=None)
    )
    for study_id in sorted({row.study_id for row in rows}):
        count = sum(row.study_id == study_id for row in rows)
        events.record(connection, "delivery_retried", study_id=study_id, deliveries=count)
    return len(rows)
