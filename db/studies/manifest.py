"""The frozen study of a revision, from its rows."""

from pathlib import Path

from sqlalchemy import Connection, select

from db.tables import Instance, Revision, RevisionInstance, Series, Study
from neurotriage.core.storage import Storage
from neurotriage.core.values import ManifestInstance, Reason, ReasonCode, SeriesManifest, StudyManifest


def read_manifest(connection: Connection, revision_id: int, storage: Storage) -> StudyManifest:
    """The frozen study of a revision, with the paths of its files.

    Series are in the order of their UIDs, instances in that of their numbers, those without a number last.
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
            Instance.sop_instance_uid,
            Instance.sop_class_uid,
            Instance.digest,
        )
        .select_from(RevisionInstance)
        .join(Instance, Instance.id == RevisionInstance.instance_id)
        .join(Series, Series.id == Instance.series_id)
        .where(RevisionInstance.revision_id == revision_id)
        .order_by(
            Series.series_instance_uid, Instance.instance_number.nulls_last(), Instance.sop_instance_uid
        )
    ).all()
    series: dict[str, tuple[str, list[ManifestInstance]]] = {}
    for row in rows:
        _, instances = series.setdefault(row.series_instance_uid, (row.modality, []))
        path: Path = storage.stored_instance(row.digest)
        instances.append(ManifestInstance(row.sop_instance_uid, row.sop_class_uid, path, row.digest))
    return StudyManifest(
        study_instance_uid=revision.study_instance_uid,
        revision=revision.number,
        series=tuple(
            SeriesManifest(uid, modality, tuple(instances)) for uid, (modality, instances) in series.items()
        ),
        completed_by=revision.completed_by,
        conflict=Reason(ReasonCode.IDENTITY_CONFLICT, revision.conflict) if revision.conflict else None,
    )
