"""Who works on a revision: leases with a fencing token, by the database's clock only.

A claim raises ``attempt`` and ``token`` before any work starts. Every later move needs the token, so a
worker that froze past its lease changes nothing when it wakes.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, update

from db import events
from db.clock import lease_is_dead, seconds
from db.tables import Instance, Revision, RevisionInstance, Series, Study
from neurotriage.core.states import RevisionState
from neurotriage.core.storage import Storage
from neurotriage.core.values import ManifestInstance, Reason, ReasonCode, StudyManifest
from neurotriage.dicom.manifest import ListedInstance, series_of

_ERROR_LIMIT = 8000


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on a revision, as long as the lease lives."""

    revision_id: int
    study_id: int
    token: int
    attempt: int


def claim(connection: Connection, revision_id: int, *, owner: str, lease_s: float) -> Lease | None:
    """Take a revision that waits, or whose holder is gone. None: somebody else did, or it has ended."""
    free = or_(
        Revision.state == RevisionState.READY,
        and_(Revision.state == RevisionState.ANALYSING, lease_is_dead(Revision.lease_until)),
    )
    row = connection.execute(
        update(Revision)
        .where(Revision.id == revision_id, free)
        .values(
            state=RevisionState.ANALYSING,
            owner=owner,
            attempt=Revision.attempt + 1,
            token=Revision.token + 1,
            lease_until=func.clock_timestamp() + seconds(lease_s),
        )
        .returning(Revision.study_id, Revision.token, Revision.attempt)
    ).one_or_none()
    if row is None:
        return None
    events.record(
        connection,
        "analysing",
        study_id=row.study_id,
        revision_id=revision_id,
        owner=owner,
        attempt=row.attempt,
    )
    return Lease(revision_id, row.study_id, row.token, row.attempt)


def renew(connection: Connection, held: Lease, *, lease_s: float) -> bool:
    """Lengthen the lease. False: there is none any more, it was lost or has ended."""
    renewed = connection.execute(
        update(Revision).where(*_mine(held)).values(lease_until=func.clock_timestamp() + seconds(lease_s))
    )
    return renewed.rowcount == 1


def is_lost(connection: Connection, held: Lease) -> bool:
    """Whether somebody else has claimed the revision since."""
    token = connection.execute(select(Revision.token).where(Revision.id == held.revision_id)).scalar_one()
    return token != held.token


def give_back(connection: Connection, held: Lease, error: str, *, retry_in_s: float = 0.0) -> bool:
    """Leave the revision to another attempt, with the error that stopped this one.

    ``retry_in_s`` keeps the lease for that long, so that nobody tries again before.
    """
    values: dict[str, Any] = {"state": RevisionState.READY, "owner": None, "lease_until": None}
    if retry_in_s:
        values = {"lease_until": func.clock_timestamp() + seconds(retry_in_s)}
    moved = connection.execute(
        update(Revision).where(*_mine(held)).values(last_error=error[-_ERROR_LIMIT:], **values)
    )
    if moved.rowcount == 1:
        events.record(
            connection,
            "attempt_failed",
            study_id=held.study_id,
            revision_id=held.revision_id,
            attempt=held.attempt,
            error=error.strip().splitlines()[-1][:200] if error.strip() else "",
        )
    return moved.rowcount == 1


def finish(connection: Connection, held: Lease, state: RevisionState, **detail: object) -> bool:
    """End the revision. False: the lease was lost and nothing may be written."""
    moved = connection.execute(
        update(Revision)
        .where(*_mine(held))
        .values(state=state, lease_until=None, ended_at=func.clock_timestamp())
    )
    if moved.rowcount != 1:
        return False
    events.record(connection, state, study_id=held.study_id, revision_id=held.revision_id, **detail)
    return True


def _mine(held: Lease) -> tuple[ColumnElement[bool], ...]:
    return (
        Revision.id == held.revision_id,
        Revision.token == held.token,
        Revision.state == RevisionState.ANALYSING,
    )


def fail_abandoned(connection: Connection, *, attempts: int) -> int:
    """Fail what used up more than ``attempts`` and whose holder is gone. The number of revisions."""
    rows = connection.execute(
        update(Revision)
        .where(
            Revision.state.in_((RevisionState.READY, RevisionState.ANALYSING)),
            Revision.attempt >= attempts,
            lease_is_dead(Revision.lease_until),
        )
        .values(state=RevisionState.FAILED, lease_until=None, ended_at=func.clock_timestamp())
        .returning(Revision.id, Revision.study_id)
    ).all()
    for row in rows:
        events.record(connection, RevisionState.FAILED, study_id=row.study_id, revision_id=row.id)
    return len(rows)


def manifest(connection: Connection, revision_id: int, storage: Storage) -> StudyManifest:
    """The frozen study of a revision, in the order of ``series_of``."""
    revision = connection.execute(
        select(Revision.number, Revision.completed_by, Study.study_instance_uid, Study.conflict)
        .join(Study, Study.id == Revision.study_id)
        .where(Revision.id == revision_id)
    ).one()
    rows = connection.execute(
        select(
            Series.series_instance_uid,
            Series.modality,
            Instance.instance_number,
            Instance.sop_instance_uid,
            Instance.sop_class_uid,
            Instance.digest,
        )
        .select_from(RevisionInstance)
        .join(Instance, Instance.id == RevisionInstance.instance_id)
        .join(Series, Series.id == Instance.series_id)
        .where(RevisionInstance.revision_id == revision_id)
    )
    listed = (
        ListedInstance(
            row.series_instance_uid,
            row.modality,
            row.instance_number,
            ManifestInstance(
                row.sop_instance_uid, row.sop_class_uid, storage.stored_instance(row.digest), row.digest
            ),
        )
        for row in rows
    )
    return StudyManifest(
        study_instance_uid=revision.study_instance_uid,
        revision=revision.number,
        series=series_of(listed),
        completed_by=revision.completed_by,
        conflict=Reason(ReasonCode.IDENTITY_CONFLICT, revision.conflict) if revision.conflict else None,
    )
