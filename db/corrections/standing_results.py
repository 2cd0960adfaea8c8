"""What a correction of a study would take back."""

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from db.tables import AnalysisRow, Delivery, Instance, ResultObjectRow, Revision, Study
from neurotriage.core.states import DeliveryState, RevisionState
from neurotriage.core.values import NoteKind


@dataclass(frozen=True, slots=True)
class StandingResults:
    """A study as it is known now, and the results that stand."""

    study_instance_uid: str
    patient_id: str
    images: int
    stored: int  # deliveries of results that reached their destination and were not withdrawn


def standing_results(connection: Connection, study_id: int) -> StandingResults:
    """Raises SQLAlchemy's ``NoResultFound`` for an unknown id."""
    images = select(func.count()).where(Instance.study_id == study_id, Instance.counts, ~Instance.own_result)
    stored = (
        select(func.count())
        .select_from(Delivery)
        .join(ResultObjectRow, ResultObjectRow.id == Delivery.result_object_id)
        .join(AnalysisRow, AnalysisRow.id == ResultObjectRow.analysis_id)
        .join(Revision, Revision.id == AnalysisRow.revision_id)
        .where(
            Revision.study_id == study_id,
            Revision.state != RevisionState.WITHDRAWN,
            ResultObjectRow.kind != NoteKind.REJECTION,
            Delivery.state == DeliveryState.STORED,
        )
    )
    row = connection.execute(
        select(
            Study.study_instance_uid,
            Study.patient_id,
            images.scalar_subquery(),
            stored.scalar_subquery(),
        ).where(Study.id == study_id)
    ).one()
    return StandingResults(*row)
