"""From open studies to frozen revisions, and what came beside instances."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select, update
from sqlalchemy.dialects.postgresql import insert

from db import events
from db.tables import (
    Instance,
    Quarantined,
    RefusedContext,
    Revision,
    RevisionInstance,
    RevisionState,
    Study,
    StudyState,
)
from neurotriage.core.patients import identity_conflict
from neurotriage.core.values import Reason, digest_of


@dataclass(frozen=True, slots=True)
class Reception:
    """How an instance came: who sent it, when, how large it was."""

    peer_ae_title: str
    peer_host: str
    received_at: datetime
    size_bytes: int


@dataclass(frozen=True, slots=True)
class OpenStudy:
    """A study to which instances may still come. Times are by the database's clock."""

    id: int
    idle_s: float
    instances: int


def quarantine(connection: Connection, name: str, reason: Reason, reception: Reception) -> None:
    """Record a file that could not be parsed. Idempotent by name."""
    connection.execute(
        insert(Quarantined)
        .values(
            name=name,
            code=reason.code,
            reason=reason.text,
            peer_ae_title=reception.peer_ae_title,
            peer_host=reception.peer_host,
            received_at=reception.received_at,
        )
        .on_conflict_do_nothing(index_elements=[Quarantined.name])
    )


def record_refused_context(
    connection: Connection,
    peer_ae_title: str,
    peer_host: str,
    sop_class_uid: str,
    transfer_syntaxes: Sequence[str],
) -> None:
    """Count a presentation context that a peer proposed and we refused."""
    statement = insert(RefusedContext).values(
        peer_ae_title=peer_ae_title,
        peer_host=peer_host,
        sop_class_uid=sop_class_uid,
        transfer_syntaxes=" ".join(transfer_syntaxes),
    )
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["peer_ae_title", "peer_host", "sop_class_uid", "transfer_syntaxes"],
            set_={"times": RefusedContext.times + 1, "last_at": func.now()},
        )
    )


def open_studies(connection: Connection) -> list[OpenStudy]:
    """All studies to which instances may still come."""
    idle = func.extract("epoch", func.clock_timestamp() - Study.last_received_at)
    rows = connection.execute(
        select(Study.id, idle, func.count(Instance.id))
        .join(Instance, Instance.study_id == Study.id)
        .where(Study.state == StudyState.OPEN)
        .group_by(Study.id)
        .order_by(Study.last_received_at)
    )
    return [OpenStudy(row[0], float(row[1]), row[2]) for row in rows]


def freeze(connection: Connection, study_id: int, *, idle_s: float, completed_by: str) -> int | None:
    """Make the next revision of a study that has been idle for ``idle_s``; its id.

    None where an instance came meanwhile, another process was faster, or nothing has changed since the
    last revision.
    """
    idle = Study.last_received_at <= func.clock_timestamp() - func.make_interval(0, 0, 0, 0, 0, 0, idle_s)
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
    rows = connection.execute(
        select(Study.study_instance_uid, Instance.patient_key)
        .join(Instance)
        .where(Study.id == study_id, ~Instance.own_result)
        .distinct()
    ).all()
    uid = next((row.study_instance_uid for row in rows), "")
    conflict = identity_conflict((row.patient_key for row in rows), uid)
    if conflict is not None:
        connection.execute(update(Study).where(Study.id == study_id).values(conflict=conflict.text))
