"""Files that could not be used, and presentation contexts and associations that we refused."""

from collections.abc import Sequence

from sqlalchemy import Connection, func, select, update
from sqlalchemy.dialects.postgresql import insert

from db.tables import Quarantined, RefusedAssociation, RefusedContext
from neurotriage.core.reception import Reception, Sender
from neurotriage.core.values import Reason


def quarantine(
    connection: Connection, name: str, path: str, reason: Reason, reception: Reception, *, kind: str
) -> None:
    """Record a file that could not be used and lies at ``path`` below the storage root.

    ``kind``: instance, report or note. A ``name`` that is there already is left as it is.
    """
    connection.execute(
        insert(Quarantined)
        .values(
            kind=kind,
            name=name,
            path=path,
            size_bytes=reception.size_bytes,
            code=reason.code,
            reason=reason.text,
            peer_ae_title=reception.peer_ae_title,
            peer_host=reception.peer_host,
            sop_instance_uid=reception.affected_sop_instance_uid,
            received_at=reception.received_at,
        )
        .on_conflict_do_nothing(index_elements=[Quarantined.name])
    )


def forget_bytes(connection: Connection, name: str) -> None:
    """Record that the bytes of a quarantined file were deleted, as there were too many."""
    connection.execute(
        update(Quarantined)
        .where(Quarantined.name == name)
        .values(path="", reason=Quarantined.reason + "; its bytes were deleted, as the quarantine was full")
    )


def record_refused_context(
    connection: Connection,
    peer: Sender,
    sop_class_uid: str,
    transfer_syntaxes: Sequence[str],
    *,
    limit: int = 5000,
) -> None:
    """Count a presentation context that a peer proposed and we refused.

    So that nobody fills the table by proposing a new one each time, from ``limit`` rows on unknown ones are
    counted in the row ``other`` of the peer's address.
    """
    context = {"sop_class_uid": sop_class_uid, "transfer_syntaxes": " ".join(transfer_syntaxes)}
    key = {"peer_ae_title": peer[0], "peer_host": peer[1], **context}
    counted = connection.execute(
        update(RefusedContext)
        .where(*(getattr(RefusedContext, name) == value for name, value in key.items()))
        .values(times=RefusedContext.times + 1, last_at=func.now())
    )
    if counted.rowcount:
        return
    rows = connection.execute(select(func.count(RefusedContext.id))).scalar_one()
    if rows >= limit:
        key = {"peer_ae_title": "", "peer_host": peer[1], "sop_class_uid": "other", "transfer_syntaxes": ""}
    connection.execute(
        insert(RefusedContext)
        .values(**key)
        .on_conflict_do_update(
            index_elements=list(key), set_={"times": RefusedContext.times + 1, "last_at": func.now()}
        )
    )


def record_refused_association(
    connection: Connection,
    cause: str,
    peer: Sender,
    called_ae_title: str,
    *,
    times: int = 1,
    limit: int = 5000,
) -> None:
    """Count a connection or association that was refused ``times`` times for ``cause``.

    From ``limit`` rows on, unknown ones are counted in one row, so that nobody fills the table.
    """
    key = {
        "cause": cause,
        "peer_host": peer[1],
        "peer_ae_title": peer[0],
        "called_ae_title": called_ae_title,
    }
    more = {"times": RefusedAssociation.times + times, "last_at": func.now()}
    counted = connection.execute(
        update(RefusedAssociation)
        .where(*(getattr(RefusedAssociation, name) == value for name, value in key.items()))
        .values(**more)
    )
    if counted.rowcount:
        return
    rows = connection.execute(select(func.count(RefusedAssociation.id))).scalar_one()
    if rows >= limit:
        key = {"cause": "(others)", "peer_host": "(others)", "peer_ae_title": "", "called_ae_title": ""}
    connection.execute(
        insert(RefusedAssociation)
        .values(**key, times=times)
        .on_conflict_do_update(index_elements=list(key), set_=more)
    )
