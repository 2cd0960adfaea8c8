"""The rows of the studies and series that received instances belong to."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, func, select, tuple_
from sqlalchemy.dialects.postgresql import insert

from db.tables import Series, Study
from neurotriage.core.reception import Reception
from neurotriage.core.states import StudyState
from neurotriage.dicom.headers import InstanceHeader

Received = tuple[InstanceHeader, Reception]


def lock_studies(connection: Connection, received: Iterable[Received]) -> dict[str, int]:
    """Ids of the studies by UID; new ones are inserted, and all are locked until the transaction ends.

    So are those that rejection notes name, where they are known.

    They are locked in the order of their UIDs, so that two batches never wait for each other in a circle.
    """
    rows: dict[str, dict[str, Any]] = {}
    named: set[str] = set()
    for header, reception in received:
        named |= {study for study, _ in header.rejection.instances} if header.rejection else set()
        rows.setdefault(
            header.study_instance_uid,
            {
                "study_instance_uid": header.study_instance_uid,
                "state": StudyState.QUIET,
                "patient_id": header.patient_id,
                "issuer_of_patient_id": header.issuer_of_patient_id,
                "accession_number": header.accession_number,
                "study_date": header.study_date,
                "description": header.study_description,
                "first_received_at": reception.received_at,
            },
        )
    connection.execute(
        insert(Study)
        .values(last_received_at=func.clock_timestamp())
        .on_conflict_do_nothing(index_elements=[Study.study_instance_uid]),
        [rows[uid] for uid in sorted(rows)],
    )
    stored = connection.execute(
        select(Study.study_instance_uid, Study.id)
        .where(Study.study_instance_uid.in_(rows.keys() | named))
        .order_by(Study.study_instance_uid)
        .with_for_update(key_share=True)
    )
    return {row.study_instance_uid: row.id for row in stored if row.study_instance_uid in rows}


def series_ids(
    connection: Connection, studies: Mapping[str, int], received: Iterable[Received]
) -> dict[tuple[int, str], int]:
    """Ids of the series by study and UID; new ones are inserted. ``studies``: as ``lock_studies`` gave it."""
    rows: dict[tuple[int, str], dict[str, Any]] = {}
    for header, _ in received:
        study_id = studies[header.study_instance_uid]
        rows.setdefault(
            (study_id, header.series_instance_uid),
            {
                "study_id": study_id,
                "series_instance_uid": header.series_instance_uid,
                "modality": header.modality,
                "number": header.series_number,
                "description": header.series_description,
                "body_part": header.body_part,
                "manufacturer": header.manufacturer,
                "model_name": header.model_name,
                "station_name": header.station_name,
            },
        )
    connection.execute(
        insert(Series).on_conflict_do_nothing(index_elements=[Series.study_id, Series.series_instance_uid]),
        list(rows.values()),
    )
    stored = connection.execute(
        select(Series.study_id, Series.series_instance_uid, Series.id).where(
            tuple_(Series.study_id, Series.series_instance_uid).in_(rows)
        )
    )
    return {(row.study_id, row.series_instance_uid): row.id for row in stored}
