"""The frozen study of a revision, from its rows."""

from sqlalchemy import Connection, func, select

from db.corrections.identity import identity
from db.tables import Instance, Revision, RevisionInstance, Series, Study
from neurotriage.core.states import RevisionState
from neurotriage.core.storage import Storage
from neurotriage.core.values import ManifestInstance, Reason, ReasonCode, StudyManifest
from neurotriage.dicom.manifest import ListedInstance, series_of


def read_manifest(connection: Connection, revision_id: int, storage: Storage) -> StudyManifest:
    """The frozen study of a revision, with the paths of its files, in the order of ``series_of``.

    Raises SQLAlchemy's ``NoResultFound`` for an unknown id.
    """
    revision = connection.execute(
        select(
            Revision.study_id,
            Revision.number,
            Revision.completed_by,
            Revision.conflict,
            Study.study_instance_uid,
        )
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
            Instance.corrected_by,
        )
        .select_from(RevisionInstance)
        .join(Instance, Instance.id == RevisionInstance.instance_id)
        .join(Series, Series.id == Instance.series_id)
        .where(RevisionInstance.revision_id == revision_id)
    ).all()
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
    corrections = [row.corrected_by for row in rows if row.corrected_by is not None]
    return StudyManifest(
        study_instance_uid=revision.study_instance_uid,
        revision=revision.number,
        series=series_of(listed),
        completed_by=revision.completed_by,
        conflict=_conflict(revision.conflict, empty=not rows),
        patient=identity(connection, max(corrections)) if corrections else None,
        withdrawn=_withdrawn_before(connection, revision.study_id, revision.number),
    )


def _conflict(text: str | None, *, empty: bool) -> Reason | None:
    if empty:
        return Reason(
            ReasonCode.IMAGES_WITHDRAWN, "every image of this study was rejected by its source, or by command"
        )
    return Reason(ReasonCode.IDENTITY_CONFLICT, text) if text else None


def _withdrawn_before(connection: Connection, study_id: int, number: int) -> int:
    return connection.execute(
        select(func.coalesce(func.max(Revision.number), 0)).where(
            Revision.study_id == study_id,
            Revision.number < number,
            Revision.state == RevisionState.WITHDRAWN,
        )
    ).scalar_one()
