"""How associations ended: evidence that nothing of a study is on its way any more."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from db.tables import Association
from neurotriage.core.reception import Sender

KEPT: Final = 20_000


@dataclass(frozen=True, slots=True)
class AssociationEnd:
    """How and when an association ended; ``released``: by A-RELEASE."""

    association_id: str
    peer: Sender
    released: bool
    ended_at: datetime


def record_ended(connection: Connection, ends: Sequence[AssociationEnd], *, kept: int = KEPT) -> None:
    """Record the end of each association once; the newest ``kept`` rows stay."""
    if not ends:
        return
    connection.execute(
        insert(Association).on_conflict_do_nothing(index_elements=[Association.association_id]),
        [
            {
                "association_id": end.association_id,
                "peer_ae_title": end.peer[0],
                "peer_host": end.peer[1],
                "released": end.released,
                "ended_at": end.ended_at,
            }
            for end in ends
        ],
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
