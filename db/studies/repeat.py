"""A study once more: a revision of the instances that its newest one has."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, exists, func, insert, literal, or_, select

from db import events
from db.tables import Revision, RevisionInstance, Study
from neurotriage.core.states import RevisionState, StudyState
from neurotriage.core.values import REPROCESSED

OPEN: Final = "images still arrive: it is analysed when they are complete"
PENDING: Final = "it is about to be analysed anyway"
NOTHING: Final = "it has no images that were ever complete"
_PENDING: Final = (RevisionState.READY, RevisionState.ANALYSING)


@dataclass(frozen=True, slots=True)
class Repeated:
    """The revision that was made of a study, or why none was."""

    study_instance_uid: str
    revision_id: int | None = None
    number: int | None = None
    skipped: str = ""


def repeat(connection: Connection, study_id: int, *, completed_by: str) -> Repeated:
    """Make a revision of the instances that a study's newest revision has.

    None is made where images still arrive or a revision waits: that one is analysed by the models and
    settings of today anyway. Locks the study's row. Raises SQLAlchemy's ``NoResultFound`` for an unknown id.
    """
    study = connection.execute(
        select(Study.study_instance_uid, Study.state)
        .where(Study.id == study_id)
        .with_for_update(key_share=True)
    ).one()
    uid = study.study_instance_uid
    if study.state == StudyState.OPEN:
        return Repeated(uid, skipped=OPEN)
    last = connection.execute(
        select(Revision.id, Revision.number, Revision.digest, Revision.conflict)
        .where(Revision.study_id == study_id)
        .order_by(Revision.number.desc())
        .limit(1)
    ).one_or_none()
    if last is None:
        return Repeated(uid, skipped=NOTHING)
    pending = exists().where(Revision.study_id == study_id, Revision.state.in_(_PENDING))
    if connection.execute(select(pending)).scalar_one():
        return Repeated(uid, skipped=PENDING)
    revision_id = connection.execute(
        insert(Revision)
        .values(
            study_id=study_id,
            number=last.number + 1,
            state=RevisionState.READY,
            digest=last.digest,
            completed_by=completed_by,
            conflict=last.conflict,
        )
        .returning(Revision.id)
    ).scalar_one()
    same = select(literal(revision_id), RevisionInstance.instance_id)
    connection.execute(
        insert(RevisionInstance).from_select(
            ["revision_id", "instance_id"], same.where(RevisionInstance.revision_id == last.id)
        )
    )
    return Repeated(uid, revision_id, last.number + 1)


def reprocess(connection: Connection, study_id: int, *, reason: str) -> Repeated:
    """As ``repeat``; the revision is analysed afresh, whatever came of the one before. ``reason`` is kept."""
    made = repeat(connection, study_id, completed_by=REPROCESSED)
    if made.revision_id is not None:
        events.record(
            connection, "reprocessed", study_id=study_id, revision_id=made.revision_id, reason=reason
        )
    return made


def last_failed() -> ColumnElement[bool]:
    """True of a study whose newest revision failed; those that ended ``unchanged`` are passed over."""
    return _newest_state() == RevisionState.FAILED


def _newest_state() -> ColumnElement[str]:
    return (
        select(Revision.state)
        .where(Revision.study_id == Study.id, Revision.state != RevisionState.UNCHANGED)
        .order_by(Revision.number.desc())
        .limit(1)
        .correlate(Study)
        .scalar_subquery()
    )


def candidates(
    connection: Connection, *, failed: bool, since: datetime | None, limit: int
) -> tuple[list[int], int]:
    """Ids of the newest ``limit`` studies to analyse again, newest first, and how many there are in all.

    ``failed``: only those whose newest revision failed, else all that are open or have a revision, but for
    those that were cancelled; ``since``: only those whose first image came then or later.
    """
    not_cancelled = _newest_state().is_distinct_from(RevisionState.CANCELLED)
    any_analysed = and_(exists().where(Revision.study_id == Study.id), not_cancelled)
    where = [last_failed() if failed else or_(Study.state == StudyState.OPEN, any_analysed)]
    if since is not None:
        where.append(Study.first_received_at >= since)
    total = connection.execute(select(func.count()).select_from(Study).where(*where)).scalar_one()
    newest = select(Study.id).where(*where).order_by(Study.first_received_at.desc(), Study.id.desc())
    return list(connection.execute(newest.limit(limit)).scalars()), total
