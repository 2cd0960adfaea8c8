"""From open studies to frozen revisions."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, and_, func, or_, select, true, update
from sqlalchemy.dialects.postgresql import insert

from db import events
from db.clock import seconds
from db.corrections.identity import conflict_of
from db.tables import Instance, Revision, RevisionInstance, Study
from neurotriage.core.states import RevisionState, StudyState
from neurotriage.core.values import EARLY, digest_of

COMMANDED: Final = "commanded"  # Revision.completed_by of a study that somebody called complete
NO_MORE: Final = "is complete already: no image has come since"
NOTHING_NEW: Final = "has the images of its last revision: nothing to analyse"


def freeze(
    connection: Connection, study_id: int, *, idle_s: float, completed_by: str, **detail: Any
) -> int | None:
    """Close a study that has been idle for ``idle_s`` and make its next revision; the revision's id.

    None where an instance came meanwhile, another process was faster, or nothing has changed since the last
    revision that was of the whole study. ``completed_by`` names the evidence, ``detail`` goes into the
    events. Locks the study's row. A revision of a study of several patients gets its ``conflict`` here.
    """
    idle = Study.last_received_at <= func.clock_timestamp() - seconds(idle_s)
    # Without the key: a worker that holds a revision may write events of the study meanwhile.
    locked = connection.execute(
        select(Study.id)
        .where(Study.id == study_id, Study.state == StudyState.OPEN, idle)
        .with_for_update(key_share=True)
    ).scalar_one_or_none()
    if locked is None:
        return None
    connection.execute(update(Study).where(Study.id == study_id).values(state=StudyState.QUIET))
    events.record(connection, "quiet", study_id=study_id, completed_by=completed_by, **detail)
    _drop_waiting_first_looks(connection, study_id)
    return _add_revision(connection, study_id, completed_by)


@dataclass(frozen=True, slots=True)
class Completed:
    """The revision that was made of a study by command, or why none was."""

    study_instance_uid: str
    number: int | None = None
    skipped: str = ""


def complete(connection: Connection, study_id: int) -> Completed:
    """As ``freeze``, whenever its newest instance came. Raises ``NoResultFound`` for an unknown id."""
    study = connection.execute(
        select(Study.study_instance_uid, Study.state)
        .where(Study.id == study_id)
        .with_for_update(key_share=True)
    ).one()
    if study.state != StudyState.OPEN:
        return Completed(study.study_instance_uid, skipped=NO_MORE)
    revision_id = freeze(connection, study_id, idle_s=0.0, completed_by=COMMANDED)
    number = connection.execute(select(Revision.number).where(Revision.id == revision_id)).scalar()
    return Completed(study.study_instance_uid, number, "" if number else NOTHING_NEW)


def freeze_early(
    connection: Connection, study_id: int, series: Collection[int], *, at_most: int, **detail: Any
) -> int | None:
    """Make a first look: a revision of some series of a study that stays open; the revision's id.

    None where the study is not open any more, or has ``at_most`` first looks or another revision already.
    ``detail`` goes into the event. Locks the study's row.
    """
    locked = connection.execute(
        select(Study.id)
        .where(Study.id == study_id, Study.state == StudyState.OPEN)
        .with_for_update(key_share=True)
    ).scalar_one_or_none()
    if locked is None:
        return None
    made = connection.execute(select(Revision.completed_by).where(Revision.study_id == study_id)).scalars()
    before = made.all()
    if len(before) >= at_most or any(completed_by != EARLY for completed_by in before):
        return None
    return _add_revision(connection, study_id, EARLY, series, **detail)


def _drop_waiting_first_looks(connection: Connection, study_id: int) -> None:
    """A first look that nobody has begun is of no use once the whole study can be analysed."""
    rows = connection.execute(
        update(Revision)
        .where(
            Revision.study_id == study_id,
            Revision.completed_by == EARLY,
            or_(
                Revision.state == RevisionState.READY,
                and_(
                    Revision.state == RevisionState.ANALYSING,
                    Revision.lease_until < func.clock_timestamp(),  # its worker is gone
                ),
            ),
        )
        .values(state=RevisionState.UNCHANGED, superseded=True, ended_at=func.clock_timestamp())
        .returning(Revision.id)
    )
    for row in rows.all():
        events.record(
            connection,
            RevisionState.UNCHANGED,
            study_id=study_id,
            revision_id=row.id,
            why="the study was complete before a worker was free for its first look",
        )


def _add_revision(
    connection: Connection,
    study_id: int,
    completed_by: str,
    series: Collection[int] | None = None,
    **detail: Any,
) -> int | None:
    """``series``: ids of those that it is made of; all without."""
    instances = connection.execute(
        select(Instance.id, Instance.sop_instance_uid, Instance.digest).where(
            Instance.study_id == study_id,
            Instance.counts,
            ~Instance.own_result,
            Instance.series_id.in_(series) if series is not None else true(),
        )
    ).all()
    digest = digest_of((row.sop_instance_uid, row.digest) for row in instances)
    last = connection.execute(
        select(Revision.number, Revision.digest, Revision.state, Revision.completed_by, Revision.conflict)
        .where(Revision.study_id == study_id)
        .order_by(Revision.number.desc())
        .limit(1)
    ).one_or_none()
    conflict = conflict_of(connection, study_id)
    # What failed starts again where its images came once more, what was withdrawn is made anew, and a first
    # look is followed by the whole.
    ended = (RevisionState.FAILED, RevisionState.WITHDRAWN)
    again = last is None or last.state in ended or last.completed_by == EARLY
    if last is not None and (last.digest, last.conflict) == (digest, conflict) and not again:
        return None
    revision_id = connection.execute(
        insert(Revision)
        .values(
            study_id=study_id,
            number=1 if last is None else last.number + 1,
            state=RevisionState.READY,
            digest=digest,
            completed_by=completed_by,
            conflict=conflict,
        )
        .returning(Revision.id)
    ).scalar_one()
    if instances:
        connection.execute(
            insert(RevisionInstance),
            [{"revision_id": revision_id, "instance_id": row.id} for row in instances],
        )
    events.record(
        connection,
        "ready",
        study_id=study_id,
        revision_id=revision_id,
        completed_by=completed_by,
        instances=len(instances),
        **detail,
    )
    return revision_id
