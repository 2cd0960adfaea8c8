"""A study that is not to be analysed or sent, because somebody said so."""

from sqlalchemy import Connection, false, func, select, true, update

from db import events, summary_requests
from db.corrections.withdrawal import withdrawn
from db.delivery.deliveries import CANCELLED_BY
from db.studies.analyses import pending
from db.studies.recall import RECALL
from db.tables import AnalysisRow, Delivery, ResultObjectRow, Revision, Study
from neurotriage.core.states import DeliveryState, RevisionState, StudyState
from neurotriage.core.values import NoteKind

_UNSENT = (DeliveryState.HELD, DeliveryState.WAITING, DeliveryState.SENDING)


def cancel(connection: Connection, study_id: int, *, made_by: str, reason: str) -> tuple[int, int]:
    """Analyse no revision of a study that waits, and send none of its results that do.

    Returns how many revisions and how many deliveries were cancelled. A worker that analyses one loses it;
    an object on its way arrives, or is not tried again. No text of a model follows. Rejection notes are sent
    all the same. Further images make a new revision, and so do those of a study that is open; the same ones
    again do not. A revision that takes back what was sent, as after a recall or a correction of the patient,
    is not cancelled: see ``what_follows``.
    """
    connection.execute(select(Study.id).where(Study.id == study_id).with_for_update(key_share=True))
    # The next analysis makes the rejection notes of what was sent: nothing else would take it back.
    owes_notes = bool(withdrawn(connection, study_id))
    revisions = connection.execute(
        update(Revision)
        .where(
            Revision.study_id == study_id,
            Revision.state.in_((RevisionState.READY, RevisionState.ANALYSING)),
            Revision.completed_by != RECALL,
            false() if owes_notes else true(),
        )
        .values(
            state=RevisionState.CANCELLED,
            token=Revision.token + 1,
            owner=None,
            lease_until=None,
            ended_at=func.clock_timestamp(),
        )
        .returning(Revision.id)
    ).scalars()
    cancelled = sorted(revisions)
    deliveries = connection.execute(
        update(Delivery)
        .where(
            Delivery.state.in_(_UNSENT),
            Delivery.result_object_id.in_(
                select(ResultObjectRow.id)
                .join(AnalysisRow, AnalysisRow.id == ResultObjectRow.analysis_id)
                .where(AnalysisRow.study_id == study_id, ResultObjectRow.kind != NoteKind.REJECTION)
            ),
        )
        .values(state=DeliveryState.GIVEN_UP, last_status=f"{CANCELLED_BY}{made_by}: {reason}"[:500])
    ).rowcount
    summary_requests.cancel(connection, study_id, f"{CANCELLED_BY}{made_by}")
    if cancelled or deliveries:
        events.record(
            connection,
            RevisionState.CANCELLED,
            study_id=study_id,
            revision_id=cancelled[-1] if cancelled else None,
            by=made_by,
            reason=reason,
            deliveries=deliveries,
        )
    return len(cancelled), deliveries


def what_follows(connection: Connection, study_id: int) -> str:
    """Why a study is analysed although it was cancelled, as a sentence; empty where it is not."""
    state = connection.execute(select(Study.state).where(Study.id == study_id)).scalar_one()
    if pending(connection, study_id):
        return "its next analysis takes back what was sent, so it is made; cancel its results then"
    if state == StudyState.OPEN:
        return "images still arrive: it is analysed when they are complete; cancel it then"
    return ""
