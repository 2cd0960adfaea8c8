"""Recall of a model: the studies that it answered for, their analysis anew, the results to be withdrawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, exists, func, select

from db import events
from db.corrections.withdrawal import Withdrawn
from db.studies.leases import Lease
from db.studies.repeat import repeat
from db.tables import AnalysisRow, Delivery, ModelVersion, PredictionRow, ResultObjectRow, Revision, Study
from neurotriage.core.states import DeliveryState, RevisionState
from neurotriage.core.values import NoteKind, ObjectReference

# Revision.completed_by of a revision that repeats an analysis.
RECALL = "recall"


@dataclass(frozen=True, slots=True)
class Produced:
    """An analysis in which a model had a say."""

    study_id: int
    study_instance_uid: str
    revision: int
    outcome: str
    analysed_at: datetime
    objects: int
    stored: int  # deliveries of these objects that reached their destination
    superseded: bool  # a newer revision was analysed since


def produced(connection: Connection, model: str, version: str) -> list[Produced]:
    """Analyses with a prediction of this model and version, oldest first; empty where there is none."""
    objects = select(func.count()).where(ResultObjectRow.analysis_id == AnalysisRow.id)
    stored = (
        select(func.count())
        .select_from(Delivery)
        .join(ResultObjectRow, ResultObjectRow.id == Delivery.result_object_id)
        .where(ResultObjectRow.analysis_id == AnalysisRow.id, Delivery.state == DeliveryState.STORED)
    )
    used = exists().where(
        PredictionRow.analysis_id == AnalysisRow.id,
        PredictionRow.model_version_id == ModelVersion.id,
        ModelVersion.name == model,
        ModelVersion.version == version,
    )
    rows = connection.execute(
        select(
            Study.id,
            Study.study_instance_uid,
            Revision.number,
            AnalysisRow.outcome,
            AnalysisRow.analysed_at,
            objects.scalar_subquery(),
            stored.scalar_subquery(),
            Revision.superseded,
        )
        .join(Study, Study.id == AnalysisRow.study_id)
        .join(Revision, Revision.id == AnalysisRow.revision_id)
        .where(used)
        .order_by(AnalysisRow.id)
    )
    return [Produced(*row) for row in rows]


def analyse_again(connection: Connection, study_id: int, model: str, version: str) -> int | None:
    """Make a revision of a study's newest instances, to be analysed by the models of today; its id.

    None where images still arrive or a revision waits: that one is analysed by the models of today anyway.
    Locks the study's row.
    """
    made = repeat(connection, study_id, completed_by=RECALL)
    if made.revision_id is None:
        return None
    events.record(
        connection, "recalled", study_id=study_id, revision_id=made.revision_id, model=model, version=version
    )
    return made.revision_id


def retracted(connection: Connection, held: Lease) -> Sequence[Withdrawn]:
    """Result objects that the recall held has to withdraw, with each destination that may have them.

    These are the objects sent since the last recall that was analysed, those of that recall included; no
    rejection notes, nor what was withdrawn for another reason. Each is named once per destination, in the
    order in which it was made.
    """
    study_id = held.study_id
    number = select(Revision.number).where(Revision.id == held.revision_id).scalar_subquery()
    before = (
        select(func.coalesce(func.max(Revision.number), 0))
        .join(AnalysisRow, AnalysisRow.revision_id == Revision.id)
        .where(Revision.study_id == study_id, Revision.completed_by == RECALL, Revision.number < number)
    ).scalar_subquery()
    rows = connection.execute(
        select(
            ResultObjectRow.sop_class_uid,
            ResultObjectRow.sop_instance_uid,
            ResultObjectRow.series_instance_uid,
            Delivery.destination,
            ResultObjectRow.path,
        )
        .join(AnalysisRow, AnalysisRow.id == ResultObjectRow.analysis_id)
        .join(Revision, Revision.id == AnalysisRow.revision_id)
        .join(Delivery, Delivery.result_object_id == ResultObjectRow.id)
        .where(
            Revision.study_id == study_id,
            Revision.number >= before,
            Revision.number < number,
            Revision.state != RevisionState.WITHDRAWN,
            ResultObjectRow.kind != NoteKind.REJECTION,
            Delivery.state.in_((DeliveryState.STORED, DeliveryState.SENDING)),
        )
        .order_by(ResultObjectRow.id, Delivery.id)
    )
    return [Withdrawn(ObjectReference(*row[:3]), row[3], row[4]) for row in rows]
