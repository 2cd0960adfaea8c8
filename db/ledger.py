"""The ledger of deliveries: one row per object and destination, one sender per destination."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, exists, func, select, update
from sqlalchemy.dialects.postgresql import insert

from db import events
from db.claims import lease_is_dead, seconds
from db.tables import (
    AnalysisRow,
    Delivery,
    DeliveryState,
    DestinationLease,
    ResultObjectRow,
    Study,
)

_STATUS_LIMIT = 500


@dataclass(frozen=True, slots=True)
class SendingRight:
    """The right to send to a destination, as long as the lease lives."""

    destination: str
    token: int


@dataclass(frozen=True, slots=True)
class DueDelivery:
    """An object that waits to be sent."""

    id: int
    study_id: int
    revision_id: int
    study_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    path: str  # below the storage root
    size_bytes: int
    attempts: int


def take_destination(
    connection: Connection, destination: str, *, owner: str, lease_s: float
) -> SendingRight | None:
    """Become the one process that sends to a destination. None: another one does."""
    connection.execute(
        insert(DestinationLease)
        .values(destination=destination)
        .on_conflict_do_nothing(index_elements=[DestinationLease.destination])
    )
    token = connection.execute(
        update(DestinationLease)
        .where(DestinationLease.destination == destination, lease_is_dead(DestinationLease.lease_until))
        .values(
            owner=owner,
            token=DestinationLease.token + 1,
            lease_until=func.clock_timestamp() + seconds(lease_s),
        )
        .returning(DestinationLease.token)
    ).scalar_one_or_none()
    return None if token is None else SendingRight(destination, token)


def renew(connection: Connection, right: SendingRight, *, lease_s: float) -> bool:
    """Lengthen the lease. False: it was lost, stop sending."""
    renewed = connection.execute(
        update(DestinationLease)
        .where(*_mine(right))
        .values(lease_until=func.clock_timestamp() + seconds(lease_s))
    )
    return renewed.rowcount == 1


def release(connection: Connection, right: SendingRight) -> None:
    """Let others send; nothing happens where the lease was lost."""
    connection.execute(update(DestinationLease).where(*_mine(right)).values(lease_until=None, owner=None))


def _mine(right: SendingRight) -> tuple[ColumnElement[bool], ...]:
    return (
        DestinationLease.destination == right.destination,
        DestinationLease.token == right.token,
        DestinationLease.lease_until > func.clock_timestamp(),
    )


def due(connection: Connection, destination: str, *, limit: int = 200) -> list[DueDelivery]:
    """What waits for a destination, study by study, oldest first.

    ``sending`` counts as waiting: its sender is gone, or it would hold the lease. Its result is made
    repeatable by derived UIDs, so sending twice is harmless.
    """
    rows = connection.execute(
        select(
            Delivery.id,
            AnalysisRow.study_id,
            AnalysisRow.revision_id,
            Study.study_instance_uid,
            ResultObjectRow.sop_class_uid,
            ResultObjectRow.sop_instance_uid,
            ResultObjectRow.path,
            ResultObjectRow.size_bytes,
            Delivery.attempts,
        )
        .join(ResultObjectRow, ResultObjectRow.id == Delivery.result_object_id)
        .join(AnalysisRow, AnalysisRow.id == ResultObjectRow.analysis_id)
        .join(Study, Study.id == AnalysisRow.study_id)
        .where(
            Delivery.destination == destination,
            Delivery.state.in_((DeliveryState.WAITING, DeliveryState.SENDING)),
            Delivery.next_try_at <= func.clock_timestamp(),
        )
        .order_by(AnalysisRow.id, Delivery.id)
        .limit(limit)
    )
    return [DueDelivery(*row) for row in rows]


def begin(connection: Connection, right: SendingRight, delivery_id: int) -> bool:
    """Mark one object as being sent. False: the right was lost or the delivery was cancelled."""
    held = exists().where(*_mine(right))
    moved = connection.execute(
        update(Delivery)
        .where(
            Delivery.id == delivery_id,
            Delivery.state.in_((DeliveryState.WAITING, DeliveryState.SENDING)),
            held,
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
) -> bool:
    """Write how sending one object ended. False: the right was lost, the next holder will settle it."""
    now = func.clock_timestamp()
    stored = {"stored_at": now} if state is DeliveryState.STORED else {}
    moved = connection.execute(
        update(Delivery)
        .where(Delivery.id == delivery.id, exists().where(*_mine(right)))
        .values(
            state=state, last_status=status[:_STATUS_LIMIT], next_try_at=now + seconds(retry_in_s), **stored
        )
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
