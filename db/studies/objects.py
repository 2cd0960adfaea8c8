"""The result objects of an analysis, and where each is to be sent."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects.postgresql import distinct_on, insert

from db.tables import AnalysisRow, Delivery, ResultObjectRow, Revision
from neurotriage.core.states import DeliveryState, RevisionState
from neurotriage.core.values import ObjectReference, ResultKind, ResultObject


@dataclass(frozen=True, slots=True)
class WrittenObject:
    """A result object that lies in storage, and who gets it."""

    result: ResultObject
    path: Path  # below the storage root
    destinations: tuple[str, ...]
    held: frozenset[str] = frozenset()  # those of them that get it once somebody releases it


def last_documents(connection: Connection, study_id: int) -> tuple[ObjectReference, ...]:
    """The newest report and the newest PDF of a study, which new ones take the place of.

    Empty where none stands.
    """
    rows = connection.execute(
        select(
            ResultObjectRow.sop_class_uid,
            ResultObjectRow.sop_instance_uid,
            ResultObjectRow.series_instance_uid,
        )
        .join(AnalysisRow, AnalysisRow.id == ResultObjectRow.analysis_id)
        .join(Revision, Revision.id == AnalysisRow.revision_id)
        .where(
            AnalysisRow.study_id == study_id,
            ResultObjectRow.kind.in_((ResultKind.REPORT, ResultKind.DOCUMENT)),
            Revision.state != RevisionState.WITHDRAWN,
        )
        .ext(distinct_on(ResultObjectRow.kind))
        .order_by(ResultObjectRow.kind.desc(), ResultObjectRow.id.desc())
    )
    return tuple(ObjectReference(*row) for row in rows)


def record_object(connection: Connection, analysis_id: int, written: WrittenObject, *, deliver: bool) -> None:
    """Write the row of an object, and those of its deliveries if it is to be delivered."""
    result = written.result
    object_id = connection.execute(
        insert(ResultObjectRow)
        .values(
            analysis_id=analysis_id,
            kind=result.kind,
            index=result.index,
            sop_class_uid=result.sop_class_uid,
            sop_instance_uid=result.sop_instance_uid,
            series_instance_uid=result.series_instance_uid,
            path=str(written.path),
            size_bytes=len(result.data),
        )
        .returning(ResultObjectRow.id)
    ).scalar_one()
    if deliver and written.destinations:
        connection.execute(
            insert(Delivery),
            [
                {
                    "result_object_id": object_id,
                    "destination": name,
                    "state": DeliveryState.HELD if name in written.held else DeliveryState.WAITING,
                }
                for name in written.destinations
            ],
        )


def supersede(connection: Connection, analysis_id: int, kinds: Iterable[str]) -> None:
    """Let the objects of these kinds of an analysis stand no more.

    What was to be sent of them is sent: what takes their place, and key objects in an archive, name them.
    """
    connection.execute(
        update(ResultObjectRow)
        .where(ResultObjectRow.analysis_id == analysis_id, ResultObjectRow.kind.in_(list(kinds)))
        .values(superseded=True)
    )


def recorded_uids(connection: Connection, analysis_id: int) -> frozenset[str]:
    """The SOP Instance UIDs of all objects that were made of an analysis."""
    uids = select(ResultObjectRow.sop_instance_uid).where(ResultObjectRow.analysis_id == analysis_id)
    return frozenset(connection.execute(uids).scalars())
