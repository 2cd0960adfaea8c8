"""Results that no longer hold: withdrawn here at once, told to archives with the study's next analysis."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, and_, case, exists, func, or_, select, text, update

from db import events
from db.tables import AnalysisRow, Delivery, Instance, ResultObjectRow, Revision, RevisionInstance, Study
from neurotriage.core.states import DeliveryState, RevisionState, StudyState
from neurotriage.core.values import NoteKind, ObjectReference

_CANCELLED: Final = "cancelled: the result was withdrawn"
_CANCELLED_IN_SENDING: Final = "cancelled while it was sent: the result was withdrawn"
_PENDING: Final = (RevisionState.READY, RevisionState.ANALYSING)
_SHOWN_SLICES: Final = "$.series[*].slices[*].sop_instance_uid"
_SHOWN: Final = """
select exists (
    select from analyses a join revisions r on r.id = a.revision_id
    where r.study_id = :study and r.state <> :withdrawn and (
        exists (
            select from jsonb_path_query(a.document, cast(:slices as jsonpath)) uid
            where uid #>> '{}' = any(:uids)
        )
        or not jsonb_path_exists(a.document, cast(:slices as jsonpath)) and exists (
            select from revision_instances x join instances i on i.id = x.instance_id
            where x.revision_id = r.id and i.sop_instance_uid = any(:uids)
        )
    )
)"""


def withdraw(connection: Connection, study_id: int, why: str, **detail: Any) -> bool:
    """Let no revision of a study stand; False where none does.

    A worker that holds one can write nothing any more, and what waits to be sent is cancelled, but for
    rejection notes. ``why`` and ``detail`` go into the event. The study's row must be locked; it has to be
    opened, so that a further revision is made.
    """
    rows = connection.execute(
        update(Revision)
        .where(Revision.study_id == study_id, Revision.state != RevisionState.WITHDRAWN)
        .values(
            state=RevisionState.WITHDRAWN,
            superseded=True,
            token=Revision.token + 1,
            owner=None,
            lease_until=None,
            ended_at=func.coalesce(Revision.ended_at, func.clock_timestamp()),
        )
        .returning(Revision.id)
    )
    revisions = rows.scalars().all()
    if not revisions:
        return False
    sending = Delivery.state == DeliveryState.SENDING
    cancelled = connection.execute(
        update(Delivery)
        .where(
            Delivery.state.in_((DeliveryState.HELD, DeliveryState.WAITING, DeliveryState.SENDING)),
            Delivery.result_object_id.in_(
                select(ResultObjectRow.id)
                .join(AnalysisRow, AnalysisRow.id == ResultObjectRow.analysis_id)
                .where(AnalysisRow.revision_id.in_(revisions), ResultObjectRow.kind != NoteKind.REJECTION)
            ),
        )
        .values(
            state=DeliveryState.GIVEN_UP,
            last_status=case((sending, _CANCELLED_IN_SENDING), else_=_CANCELLED),
        )
    )
    events.record(
        connection,
        RevisionState.WITHDRAWN,
        study_id=study_id,
        revision_id=max(revisions),
        why=why,
        deliveries_cancelled=cancelled.rowcount,
        **detail,
    )
    return True


def reopen(connection: Connection, study_id: int, *, wait: bool) -> None:
    """Have another revision made; ``wait``: not before no instance has come for a while from now on."""
    values: dict[str, Any] = {"state": StudyState.OPEN}
    if wait:
        values["last_received_at"] = func.clock_timestamp()
    connection.execute(update(Study).where(Study.id == study_id).values(**values))


def rests_on(connection: Connection, study_id: int, sop_instance_uids: Collection[str]) -> bool:
    """Whether a revision that stands shows one of these instances in its results, or still may.

    One in which nothing was analysed speaks of all its instances.
    """
    uids = list(sop_instance_uids)
    pending = exists().where(
        Revision.study_id == study_id,
        Revision.state.in_(_PENDING),
        RevisionInstance.revision_id == Revision.id,
        Instance.id == RevisionInstance.instance_id,
        Instance.sop_instance_uid.in_(uids),
    )
    shown = text(_SHOWN)
    values = {
        "slices": _SHOWN_SLICES,
        "study": study_id,
        "withdrawn": RevisionState.WITHDRAWN.value,
        "uids": uids,
    }
    return bool(
        connection.execute(select(pending)).scalar_one() or connection.execute(shown, values).scalar_one()
    )


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A result object that is withdrawn, and a destination that may have it."""

    reference: ObjectReference
    destination: str
    path: str  # of the object, below the storage root


def withdrawn(connection: Connection, study_id: int) -> Sequence[Withdrawn]:
    """What was withdrawn and no analysis makes up for yet, with each destination that may have it.

    No rejection notes. Each is named once per destination, in the order in which it was made.
    """
    # Also where a try ended without an answer, or what was stored is said to be lost; a refusal is certain.
    may_be_there = or_(
        Delivery.state.in_((DeliveryState.STORED, DeliveryState.SENDING)),
        Delivery.last_status == _CANCELLED_IN_SENDING,
        and_(
            or_(Delivery.attempts > 0, Delivery.resends > 0, Delivery.stored_at.is_not(None)),
            Delivery.state != DeliveryState.REFUSED,
        ),
    )
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
            Revision.state == RevisionState.WITHDRAWN,
            ResultObjectRow.withdrawn_by.is_(None),
            ResultObjectRow.kind != NoteKind.REJECTION,
            may_be_there,
        )
        .order_by(ResultObjectRow.id, Delivery.id)
    )
    return [Withdrawn(ObjectReference(*row[:3]), row[3], row[4]) for row in rows]


def settle(connection: Connection, study_id: int, analysis_id: int) -> None:
    """Let an analysis make up for everything of the study that was withdrawn and still open."""
    analyses = (
        select(AnalysisRow.id)
        .join(Revision, Revision.id == AnalysisRow.revision_id)
        .where(Revision.study_id == study_id, Revision.state == RevisionState.WITHDRAWN)
    )
    connection.execute(
        update(ResultObjectRow)
        .where(ResultObjectRow.analysis_id.in_(analyses), ResultObjectRow.withdrawn_by.is_(None))
        .values(withdrawn_by=analysis_id)
    )
