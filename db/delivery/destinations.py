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
    """Become the one process that sends to a destination, for ``lease_s``. None: another process does.

    Adds the destination's row where it is missing.
    """
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
    """Let the right live for ``lease_s`` from now. False: it ran out or was taken over, so stop sending."""
    renewed = connection.execute(
        update(DestinationLease)
        .where(*held(right))
        .values(lease_until=func.clock_timestamp() + seconds(lease_s))
    )
    return renewed.rowcount == 1


def release(connection: Connection, right: SendingRight) -> None:
    """Let others send. Nothing happens where the right was lost."""
    connection.execute(update(DestinationLease).where(*held(right)).values(lease_until=None, owner=None))


def held(right: SendingRight) -> tuple[ColumnElement[bool], ...]:
    """Conditions on ``destination_leases``: the row is the destination's, and the right is still held."""
    return (
        DestinationLease.destination == right.destination,
        DestinationLease.token == right.token,
        DestinationLease.lease_until > func.clock_timestamp(),
    )


def query_pause_s(connection: Connection, destination: str) -> float:
    """For how many seconds more no query goes to a destination; 0 where nothing keeps from it."""
    left = func.extract("epoch", DestinationLease.no_queries_until - func.clock_timestamp())
    row = connection.execute(select(left).where(DestinationLease.destination == destination))
    return max(0.0, float(row.scalar_one_or_none() or 0.0))


def pause_queries(connection: Connection, right: SendingRight, *, for_s: float) -> None:
    """Send no query to a destination for ``for_s``, because it left one unanswered.

    Nothing happens where the right was lost.
    """
    until = func.clock_timestamp() + seconds(for_s)
    connection.execute(update(DestinationLease).where(*held(right)).values(no_queries_until=until))
