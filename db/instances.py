"""Received instances to rows: a batch costs as many statements as one instance does."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from db import events
from db.intake import Reception
from db.repeat import last_failed
from db.tables import Instance, Series, Study, StudyState
from neurotriage.core.headers import InstanceHeader

Received = tuple[InstanceHeader, Reception]
_Key = tuple[int, str, str]  # study, SOP Instance UID, digest


def record_instances(connection: Connection, received: Sequence[Received]) -> list[bool]:
    """Write the rows of instances, in the order in which they came; for each: is it new, and does it count?

    The same instance again only raises its counter, but starts a study again that failed. The same SOP
    Instance UID with other bytes is kept and marked: the first counts. Our own results never open a study.
    Needs all four UIDs in the headers.
    """
    # From here on the studies' rows are locked: intake of one study is one after the other.
    studies = _studies(connection, received)
    series = _series(connection, studies, received)
    known = _known(connection, studies, received)
    taken = {key[:2] for key in known}
    fresh: dict[_Key, dict[str, Any]] = {}
    repeated: Counter[int] = Counter()
    new = []
    for header, reception in received:
        study_id = studies[header.study_instance_uid]
        key = study_id, header.sop_instance_uid, header.digest
        first = key[:2] not in taken
        if key in known:
            repeated[known[key]] += 1
        elif key in fresh:
            fresh[key]["times_received"] += 1
        else:
            series_id = series[study_id, header.series_instance_uid]
            fresh[key] = _row(header, reception, study_id, series_id, counts=first)
            taken.add(key[:2])
        new.append(first)
    _count(connection, repeated)
    _start_again(connection, repeated)
    _insert(connection, list(fresh.values()))
    return new


def _studies(connection: Connection, received: Iterable[Received]) -> dict[str, int]:
    """The locked studies by UID. In one order everywhere, so that two batches never wait for each other."""
    rows: dict[str, dict[str, Any]] = {}
    for header, reception in received:
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
    found = connection.execute(
        select(Study.study_instance_uid, Study.id)
        .where(Study.study_instance_uid.in_(rows))
        .order_by(Study.study_instance_uid)
        .with_for_update()
    )
    return {row.study_instance_uid: row.id for row in found}


def _series(
    connection: Connection, studies: Mapping[str, int], received: Iterable[Received]
) -> dict[tuple[int, str], int]:
    """The series by study and UID."""
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
    found = connection.execute(
        select(Series.study_id, Series.series_instance_uid, Series.id).where(
            tuple_(Series.study_id, Series.series_instance_uid).in_(rows)
        )
    )
    return {(row.study_id, row.series_instance_uid): row.id for row in found}


def _known(
    connection: Connection, studies: Mapping[str, int], received: Iterable[Received]
) -> dict[_Key, int]:
    """The instances that came before under the same UIDs."""
    uids = {(studies[header.study_instance_uid], header.sop_instance_uid) for header, _ in received}
    found = connection.execute(
        select(Instance.study_id, Instance.sop_instance_uid, Instance.digest, Instance.id).where(
            tuple_(Instance.study_id, Instance.sop_instance_uid).in_(uids)
        )
    )
    return {(row.study_id, row.sop_instance_uid, row.digest): row.id for row in found}


def _row(
    header: InstanceHeader, reception: Reception, study_id: int, series_id: int, *, counts: bool
) -> dict[str, Any]:
    return {
        "study_id": study_id,
        "series_id": series_id,
        "sop_instance_uid": header.sop_instance_uid,
        "sop_class_uid": header.sop_class_uid,
        "instance_number": header.instance_number,
        "digest": header.digest,
        "size_bytes": reception.size_bytes,
        "patient_key": header.patient_key,
        "own_result": header.own_result,
        "counts": counts,
        "times_received": 1,
        "peer_ae_title": reception.peer_ae_title,
        "peer_host": reception.peer_host,
        "received_at": reception.received_at,
    }


def _count(connection: Connection, repeated: Counter[int]) -> None:
    """Raise the counters of instances that came again."""
    ids_by_times = defaultdict(list)
    for instance_id, times in repeated.items():
        ids_by_times[times].append(instance_id)
    for times, ids in ids_by_times.items():
        connection.execute(
            update(Instance)
            .where(Instance.id.in_(ids))
            .values(times_received=Instance.times_received + times)
        )


def _start_again(connection: Connection, repeated: Collection[int]) -> None:
    """The images of a study that failed, sent once more, open it: whoever sends again wants an answer."""
    if not repeated:
        return
    failed = connection.execute(
        select(Study.id)
        .join(Instance, Instance.study_id == Study.id)
        .where(Instance.id.in_(repeated), Instance.counts, ~Instance.own_result, last_failed())
    )
    _open(connection, set(failed.scalars()))


def _insert(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """New instances, with what follows from them for their studies."""
    if not rows:
        return
    connection.execute(insert(Instance), rows)
    _open(connection, {row["study_id"] for row in rows if row["counts"] and not row["own_result"]})
    for row in rows:
        if not row["counts"]:
            uid = row["sop_instance_uid"]
            events.record(connection, "same_uid_other_bytes", study_id=row["study_id"], sop_instance_uid=uid)


def _open(connection: Connection, studies: Collection[int]) -> None:
    """A new instance opens its study, or keeps it open for longer."""
    if not studies:
        return
    closed = connection.execute(
        select(Study.id).where(Study.id.in_(studies), Study.state != StudyState.OPEN).order_by(Study.id)
    ).scalars()
    for study_id in closed.all():
        events.record(connection, "received", study_id=study_id)
    connection.execute(
        update(Study)
        .where(Study.id.in_(studies))
        .values(state=StudyState.OPEN, last_received_at=func.clock_timestamp())
    )
