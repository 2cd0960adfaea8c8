"""From open studies to frozen revisions."""

from dataclasses import dataclass

from sqlalchemy import Connection, func, select, update
from sqlalchemy.dialects.postgresql import insert

from db import events
from db.clock import seconds
from db.tables import Instance, Revision, RevisionInstance, Study
from neurotriage.core.reception import Sender
from neurotriage.core.states import RevisionState, StudyState
from neurotriage.core.values import digest_of
from neurotriage.dicom.headers import RESULT_CLASSES
from neurotriage.dicom.patients import identity_conflict


@dataclass(frozen=True, slots=True)
class OpenStudy:
    """A study to which instances may still come. Times are by the database's clock."""

    id: int
    idle_s: float
    peers: frozenset[Sender]  # who sent instances of it


def open_studies(connection: Connection, *, idle_s: float) -> list[OpenStudy]:
    """Open studies to which no instance has come for ``idle_s``, the longest idle first."""
    idle = func.extract("epoch", func.clock_timestamp() - Study.last_received_at)
    peer = func.jsonb_build_array(Instance.peer_ae_title, Instance.peer_host)
    quiet = Study.last_received_at <= func.clock_timestamp() - seconds(idle_s)
    rows = connection.execute(
        select(Study.id, idle, func.jsonb_agg(peer.distinct()))
        .join(Instance, Instance.study_id == Study.id)
        .where(Study.state == StudyState.OPEN, quiet)
        .group_by(Study.id)
        .order_by(Study.last_received_at)
    )
    return [OpenStudy(row[0], float(row[1]), frozenset((ae, host) for ae, host in row[2])) for row in rows]


def freeze(connection: Connection, study_id: int, *, idle_s: float, completed_by: str) -> int | None:
    """Close a study that has been idle for ``idle_s`` and make its next revision; the revision's id.

    None where an instance came meanwhile, another process was faster, or nothing has changed since the last
    revision. ``completed_by`` names the evidence. Locks the study's row. A study of several patients gets its
    ``conflict`` here.
    """
    idle = Study.last_received_at <= func.clock_timestamp() - seconds(idle_s)
    locked = connection.execute(
        select(Study.id).where(Study.id == study_id, Study.state == StudyState.OPEN, idle).with_for_update()
    ).scalar_one_or_none()
    if locked is None:
        return None
    connection.execute(update(Study).where(Study.id == study_id).values(state=StudyState.QUIET))
    events.record(connection, "quiet", study_id=study_id, completed_by=completed_by)
    _note_identity_conflict(connection, study_id)
    return _add_revision(connection, study_id, completed_by)


def _add_revision(connection: Connection, study_id: int, completed_by: str) -> int | None:
    instances = connection.execute(
        select(Instance.id, Instance.sop_instance_uid, Instance.digest).where(
            Instance.study_id == study_id, Instance.counts, ~Instance.own_result
        )
    ).all()
    digest = digest_of((row.sop_instance_uid, row.digest) for row in instances)
    last = connection.execute(
        select(Revision.number, Revision.digest, Revision.state)
        .where(Revision.study_id == study_id)
        .order_by(Revision.number.desc())
        .limit(1)
    ).one_or_none()
    # What failed starts again where its images came once more.
    if last is not None and last.digest == digest and last.state != RevisionState.FAILED:
        return None
    revision_id = connection.execute(
        insert(Revision)
        .values(
            study_id=study_id,
            number=1 if last is None else last.number + 1,
            state=RevisionState.READY,
            digest=digest,
            completed_by=completed_by,
        )
        .returning(Revision.id)
    ).scalar_one()
    connection.execute(
        insert(RevisionInstance),
        [{"revision_id": revision_id, "instance_id": row.id} for row in instances],
    )
    events.record(connection, "ready", study_id=study_id, revision_id=revision_id, instances=len(instances))
    return revision_id


def _note_identity_conflict(connection: Connection, study_id: int) -> None:
    """Several patients in one study: nobody can say whose result it would be."""
    # An object that merely claims to be ours is ignored if it is no image, or if an image has replaced it.
    beside = Instance.claims_ours & (Instance.sop_class_uid.in_(RESULT_CLASSES) | ~Instance.counts)
    rows = connection.execute(
        select(Study.study_instance_uid, Instance.patient_key)
        .join(Instance)
        .where(Study.id == study_id, ~Instance.own_result, ~beside)
        .distinct()
    ).all()
    uid = next((row.study_instance_uid for row in rows), "")
    conflict = identity_conflict((row.patient_key for row in rows), uid)
    if conflict is not None:
        connection.execute(update(Study).where(Study.id == study_id).values(conflict=conflict.text))
