"""One sender per destination: leases with a fencing token, by the database's clock only."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, func, select, update
from sqlalchemy.dialects.postgresql import insert

from db.clock import lease_is_dead, seconds
from db.tables import DestinationLease


@dataclass(frozen=True, slots=True)
class SendingRight:
    """The right to send to a destination, as long as the lease lives."""

    destination: str
    token: int


def take(connection: Connection, destination: str, *, owner: str, lease_s: float) -> SendingRight | None:
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
        .where(*held(right))
        .values(lease_until=func.clock_timestamp() + seconds(lease_s))
    )
    return renewed.rowcount == 1


def release(connection: Connection, right: SendingRight) -> None:
    """Let others send; nothing happens where the lease was lost."""
    connection.execute(update(DestinationLease).where(*held(right)).values(lease_until=None, owner=None))


def held(right: SendingRight) -> tuple[ColumnElement[bool], ...]:
    """True of the destination's row as long as the right is ours."""
    return (
        DestinationLease.destination == right.destination,
        DestinationLease.token == right.token,
        DestinationLease.lease_until > func.clock_timestamp(),
    )


def query_pause_s(connection: Connection, destination: str) -> float:
    """For how many seconds a destination is asked nothing, because it left a query unanswered."""
    left = func.extract("epoch", DestinationLease.no_queries_until - func.clock_timestamp())
    row = connection.execute(select(left).where(DestinationLease.destination == destination))
    return max(0.0, float(row.scalar_one_or_none() or 0.0))


def pause_queries(connection: Connection, right: SendingRight, *, for_s: float) -> None:
    """Remember that a destination left a query unanswered."""
    until = func.clock_timestamp() + seconds(for_s)
    connection.execute(update(DestinationLease).where(*held(right)).values(no_queries_until=until))
