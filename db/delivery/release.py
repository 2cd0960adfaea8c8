"""Results that are held for a destination until somebody releases them."""

from collections.abc import Collection

from sqlalchemy import Connection, func, select, update

from db import events
from db.delivery.deliveries import hold_revisions
from db.tables import AnalysisRow, Delivery, ResultObjectRow
from neurotriage.core.states import DeliveryState


def release(
    connection: Connection, *, study_ids: Collection[int] | None, destination: str | None, made_by: str
) -> int:
    """Let results that are held be sent; how many. ``None``: every study, every destination."""
    wanted = (
        select(Delivery.id, AnalysisRow.study_id)
        .join(ResultObjectRow, ResultObjectRow.id == Delivery.result_object_id)
        .join(AnalysisRow, AnalysisRow.id == ResultObjectRow.analysis_id)
        .where(Delivery.state == DeliveryState.HELD)
    )
    if study_ids is not None:
        wanted = wanted.where(AnalysisRow.study_id.in_(study_ids))
    if destination is not None:
        wanted = wanted.where(func.split_part(Delivery.destination, "/", 1) == destination)
    hold_revisions(connection, wanted.with_only_columns(AnalysisRow.revision_id))
    rows = connection.execute(wanted.with_for_update(of=Delivery)).all()
    now = func.clock_timestamp()
    connection.execute(
        update(Delivery)
        .where(Delivery.id.in_([row.id for row in rows]))
        .values(state=DeliveryState.WAITING, waiting_since=now, next_try_at=now)
    )
    for study_id in sorted({row.study_id for row in rows}):
        count = sum(row.study_id == study_id for row in rows)
        events.record(connection, "released", study_id=study_id, by=made_by, deliveries=count)
    return len(rows)
