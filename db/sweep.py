"""Work that waits and has no worker, read from the tables and not from the queue.

Each query marks what it returns as rung, so that the same is rarely rung for twice; that would be harmless.
"""

from sqlalchemy import Connection, and_, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from db.clock import lease_is_dead, seconds
from db.tables import Delivery, DestinationLease, Revision
from neurotriage.core.states import DeliveryState, RevisionState

# One number for the whole product, unlike any other advisory lock in this database.
_SWEEP_LOCK = 0x6E657572


def try_lock(connection: Connection) -> bool:
    """Become the one process that sweeps, until this transaction ends. False, at once: another one is."""
    return bool(
        connection.execute(text("select pg_try_advisory_xact_lock(:key)"), {"key": _SWEEP_LOCK}).scalar()
    )


def revisions_to_ring(connection: Connection, *, every_s: float) -> list[int]:
    """Ids of revisions that wait for a worker, or whose worker's lease ran out; in the order of the ids.

    Left out is what was rung for within ``every_s``.
    """
    waiting = or_(
        Revision.state == RevisionState.READY,
        and_(Revision.state == RevisionState.ANALYSING, lease_is_dead(Revision.lease_until)),
    )
    quiet = or_(Revision.rung_at.is_(None), Revision.rung_at < func.clock_timestamp() - seconds(every_s))
    rows = connection.execute(
        update(Revision).where(waiting, quiet).values(rung_at=func.clock_timestamp()).returning(Revision.id)
    )
    return sorted(row.id for row in rows)


def destinations_to_ring(connection: Connection, *, every_s: float) -> list[str]:
    """Names of destinations with something due to be sent or proven, and no live sender; sorted.

    Left out is what was rung for within ``every_s``. Adds the row in ``destination_leases`` where it is
    missing.
    """
    now = func.clock_timestamp()
    waiting = select(Delivery.destination).where(
        Delivery.state.in_((DeliveryState.WAITING, DeliveryState.SENDING)), Delivery.next_try_at <= now
    )
    unproven = select(Delivery.destination).where(Delivery.proof_due_at <= now)
    names = sorted(connection.execute(waiting.union(unproven)).scalars())
    if not names:
        return []
    connection.execute(
        insert(DestinationLease)
        .values([{"destination": name} for name in names])
        .on_conflict_do_nothing(index_elements=[DestinationLease.destination])
    )
    lease = DestinationLease
    quiet = or_(lease.rung_at.is_(None), lease.rung_at < func.clock_timestamp() - seconds(every_s))
    rows = connection.execute(
        update(lease)
        .where(lease.destination.in_(names), lease_is_dead(lease.lease_until), quiet)
        .values(rung_at=func.clock_timestamp())
        .returning(lease.destination)
    )
    return sorted(row.destination for row in rows)
