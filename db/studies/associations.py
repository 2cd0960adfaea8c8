"""How associations ended: evidence that nothing of a study is on its way any more."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from db.tables import Association
from neurotriage.core.reception import Sender

KEPT: Final = 20_000


def record_ended(
    connection: Connection,
    association_id: str,
    peer: Sender,
    *,
    released: bool,
    ended_at: datetime,
    kept: int = KEPT,
) -> None:
    """Record the end of an association once; the newest ``kept`` rows stay."""
    connection.execute(
        insert(Association)
        .values(
            association_id=association_id,
            peer_ae_title=peer[0],
            peer_host=peer[1],
            released=released,
            ended_at=ended_at,
        )
        .on_conflict_do_nothing(index_elements=[Association.association_id])
    )
    newest = select(func.max(Association.id)).scalar_subquery()
    connection.execute(delete(Association).where(Association.id <= newest - kept))


def ended(connection: Connection, association_ids: Collection[str]) -> Mapping[str, bool]:
    """Of those that have ended: whether each was released."""
    if not association_ids:
        return {}
    rows = connection.execute(
        select(Association.association_id, Association.released).where(
            Association.association_id.in_(association_ids)
        )
    )
    return {row.association_id: row.released for row in rows}
