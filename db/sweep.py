"""Work that waits and has no worker, read from the tables and not from the queue.

Each query marks what it returns as rung, so that the same is rarely rung for twice; that would be harmless.
"""

from sqlalchemy import Connection, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from db.clock import lease_is_dead, seconds
from db.pauses import ANALYSIS, paused
from db.priority import rank
from db.studies.leases import free
from db.tables import AnalysisRow, Delivery, DestinationLease, ResultObjectRow, Revision, Study
from neurotriage.core.priority import Priority
from neurotriage.core.states import DeliveryState

# One number for the whole product, unlike any other advisory lock in this database.
_SWEEP_LOCK = 0x6E657572


def try_lock(connection: Connection) -> bool:
    """Become the one process that sweeps, until this transaction ends. False, at once: another one is."""
    return bool(
        connection.execute(text("select pg_try_advisory_xact_lock(:key)"), {"key": _SWEEP_LOCK}).scalar()
    )


def revisions_to_ring(connection: Connection, *, every_s: float) -> list[int]:
    """Ids of revisions that wait for a worker, or whose worker's lease ran out; in the order of the ids.

    Left out is what was rung for within ``every_s``; while analysis is paused, there is none. The order does
    not matter: a worker takes the revision whose turn it is, whichever the message names.
    """
    quiet = or_(Revision.rung_at.is_(None), Revision.rung_at < func.clock_timestamp() - seconds(every_s))
    rows = connection.execute(
        update(Revision)
        .where(free(), quiet, ~paused(ANALYSIS))
        .values(rung_at=func.clock_timestamp())
        .returning(Revision.id)
    )
    return sorted(row.id for row in rows)


def destinations_to_ring(connection: Connection, *, every_s: float, urgent_only: bool = False) -> list[str]:
    """Names of destinations with something due to be sent or proven, and no live sender.

    Those with the most urgent work come first, then by name; ``urgent_only``: no others. Left out is what was
    rung for within ``every_s``. Adds the row in ``destination_leases`` where it is missing.
    """
    ranks = _ranks(connection)
    names = [name for name, of in ranks.items() if of == Priority.URGENT.rank or not urgent_only]
    if not names:
        return []
    connection.execute(
        insert(DestinationLease)
        .values([{"destination": name} for name in sorted(names)])
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
    return sorted((row.destination for row in rows), key=lambda name: (ranks[name], name))


def _ranks(connection: Connection) -> dict[str, int]:
    """The rank of the most urgent study that is due, by destination."""
    now = func.clock_timestamp()
    waits = Delivery.state.in_((DeliveryState.WAITING, DeliveryState.SENDING)) & (Delivery.next_try_at <= now)
    rows = connection.execute(
        select(Delivery.destination, func.min(rank()))
        .join(ResultObjectRow, ResultObjectRow.id == Delivery.result_object_id)
        .join(AnalysisRow, AnalysisRow.id == ResultObjectRow.analysis_id)
        .join(Study, Study.id == AnalysisRow.study_id)
        .where(or_(waits, Delivery.proof_due_at <= now), ~paused(Delivery.destination))
        .group_by(Delivery.destination)
    )
    return {row[0]: row[1] for row in rows}
