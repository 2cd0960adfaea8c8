"""The frozen study of a revision, from its rows."""

from sqlalchemy import Connection, select

from db.tables import Instance, Revision, RevisionInstance, Series, Study
from neurotriage.core.storage import Storage
from neurotriage.core.values import ManifestInstance, Reason, ReasonCode, StudyManifest
from neurotriage.dicom.manifest import ListedInstance, series_of


def read_manifest(connection: Connection, revision_id: int, storage: Storage) -> StudyManifest:
    """The frozen study of a revision, with the paths of its files, in the order of ``series_of``.

    Raises SQLAlchemy's ``NoResultFound`` for an unknown id.
    """
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
