"""Received instances to rows: a batch costs as many statements as one instance does."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any

from sqlalchemy import Connection, case, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from db import events
from db.clock import seconds
from db.studies import priority
from db.studies.parents import Received, lock_studies, series_ids
from db.studies.repeat import last_failed
from db.tables import Instance, ResultObjectRow, Study
from neurotriage.core.priority import Judgement
from neurotriage.core.reception import Reception
from neurotriage.core.states import StudyState
from neurotriage.dicom.headers import RESULT_CLASSES, InstanceHeader
from neurotriage.dicom.priority import NO_RULES, PriorityRules

_Uid = tuple[int, str]  # study, SOP Instance UID
_Key = tuple[int, str, str]  # and the digest


class _Standing(IntEnum):
    """Of several instances under one UID the one of the highest standing counts; of equal ones, the first."""

    OURS = 0  # by our records; no image of a study
    CLAIMS_OURS = 1  # says so without proof
    ORDINARY = 2


@dataclass(frozen=True, slots=True)
class _Known:
    """An instance that was recorded before this batch."""

    id: int
    standing: _Standing
    counts: bool


def record_instances(
    connection: Connection,
    received: Sequence[Received],
    *,
    now: datetime | None = None,
    installations: Collection[str] = (),
    priorities: PriorityRules = NO_RULES,
) -> list[bool]:
    """Write the rows of instances in the order in which they came; for each, whether it is new and counts.

    The same instance again only raises its counter, but starts a study again that failed. Other bytes under a
    known SOP Instance UID are kept and marked: the first instance counts, but one that merely names us as its
    maker makes way for one that does not. Results of ours never open a study: an object is ours where it
    stands in our records, or where one of the ``installations`` made it and it is of a class that is never
    analysed. The headers need all four UIDs. Locks the rows of the studies until the transaction ends, and
    raises their class by ``priorities``.

    ``now``: by the clock to which ``received_at`` belongs; without it, all are taken to have come now.
    """
    # Their rows are locked from here on, so that two batches of a study come one after the other.
    studies = lock_studies(connection, received)
    series = series_ids(connection, studies, received)
    known = _known(connection, studies, received)
    ours = _ours(connection, received, installations)
    standings = {key: row.standing for key, row in known.items()}
    best: dict[_Uid, _Key] = {key[:2]: key for key, row in known.items() if row.counts}
    fresh: dict[_Key, dict[str, Any]] = {}
    came: dict[_Key, Received] = {}
    repeated: Counter[int] = Counter()
    new = []
    for header, reception in received:
        study_id = studies[header.study_instance_uid]
        key = study_id, header.sop_instance_uid, header.digest
        counts = False
        if key in known:
            repeated[known[key].id] += 1
        elif key in fresh:
            fresh[key]["times_received"] += 1
        else:
            own = (header.sop_class_uid, header.sop_instance_uid) in ours
            standings[key] = _standing(own_result=own, claims_ours=header.claims_ours)
            holder = best.get(key[:2])
            counts = holder is None or standings[key] > standings[holder]
            series_id = series[study_id, header.series_instance_uid]
            fresh[key] = _row(header, reception, study_id, series_id, own_result=own, counts=counts)
            came[key] = header, reception
            if counts:
                best[key[:2]] = key
                if holder in fresh:
                    fresh[holder]["counts"] = False
        new.append(counts)
    _prioritise(connection, studies, received, standings, known.keys(), priorities)
    _count(connection, repeated)
    _start_again(connection, repeated)
    _displace(connection, {key: row for key, row in known.items() if row.counts and best[key[:2]] != key})
    _insert(connection, list(fresh.values()), now)
    _note_other_uids(connection, came)
    return new


def _known(
    connection: Connection, studies: Mapping[str, int], received: Iterable[Received]
) -> dict[_Key, _Known]:
    """The instances that came before under the same UIDs."""
    uids = {(studies[header.study_instance_uid], header.sop_instance_uid) for header, _ in received}
    rows = connection.execute(
        select(
            Instance.study_id,
            Instance.sop_instance_uid,
            Instance.digest,
            Instance.id,
            Instance.counts,
            Instance.own_result,
            Instance.claims_ours,
        ).where(tuple_(Instance.study_id, Instance.sop_instance_uid).in_(uids))
    )
    return {
        (row.study_id, row.sop_instance_uid, row.digest): _Known(
            row.id, _standing(own_result=row.own_result, claims_ours=row.claims_ours), row.counts
        )
        for row in rows
    }


def _prioritise(
    connection: Connection,
    studies: Mapping[str, int],
    received: Iterable[Received],
    standings: Mapping[_Key, _Standing],
    known: Collection[_Key],
    rules: PriorityRules,
) -> None:
    """Let what came judge the class of its studies; results of ours say nothing."""
    judged: dict[int, list[Judgement]] = defaultdict(list)
    again = set()
    for header, reception in received:
        key = studies[header.study_instance_uid], header.sop_instance_uid, header.digest
        if standings[key] is not _Standing.OURS:
            judged[key[0]].append(rules.judge(header, reception))
            if key in known:
                again.add(key[0])
    priority.note(connection, judged, sent_again=again)


def _standing(*, own_result: bool, claims_ours: bool) -> _Standing:
    if own_result:
        return _Standing.OURS
    return _Standing.CLAIMS_OURS if claims_ours else _Standing.ORDINARY


def _ours(
    connection: Connection, received: Iterable[Received], installations: Collection[str]
) -> set[tuple[str, str]]:
    """Class and UID of those that we, or an installation that we know, have made."""
    results = [header for header, _ in received if header.sop_class_uid in RESULT_CLASSES]
    if not results:
        return set()
    known = {
        (header.sop_class_uid, header.sop_instance_uid)
        for header in results
        if header.claims_ours and header.creator_uid in installations
    }
    identity = tuple_(ResultObjectRow.sop_class_uid, ResultObjectRow.sop_instance_uid)
    rows = connection.execute(
        select(ResultObjectRow.sop_class_uid, ResultObjectRow.sop_instance_uid).where(
            identity.in_({(header.sop_class_uid, header.sop_instance_uid) for header in results})
        )
    )
    return known | {(row.sop_class_uid, row.sop_instance_uid) for row in rows}


def _row(
    header: InstanceHeader,
    reception: Reception,
    study_id: int,
    series_id: int,
    *,
    own_result: bool,
    counts: bool,
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
        "own_result": own_result,
        "claims_ours": header.claims_ours,
        "counts": counts,
        "times_received": 1,
        "peer_ae_title": reception.peer_ae_title,
        "peer_host": reception.peer_host,
        "received_at": reception.received_at,
        "association_id": reception.association_id,
        **asdict(header.placement),
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
    """Open studies that failed and whose images came once more: whoever sends again wants an answer."""
    if not repeated:
        return
    failed = connection.execute(
        select(Study.id)
        .join(Instance, Instance.study_id == Study.id)
        .where(Instance.id.in_(repeated), Instance.counts, ~Instance.own_result, last_failed())
    )
    _open(connection, dict.fromkeys(failed.scalars(), 0.0))


def _displace(connection: Connection, rows: Mapping[_Key, _Known]) -> None:
    """Let instances that merely named us as their maker count no more."""
    if rows:
        ids = [row.id for row in rows.values()]
        connection.execute(update(Instance).where(Instance.id.in_(ids)).values(counts=False))
    for study_id, uid, _ in rows:
        _note_other_bytes(connection, study_id, uid)


def _note_other_bytes(connection: Connection, study_id: int, sop_instance_uid: str) -> None:
    events.record(connection, "same_uid_other_bytes", study_id=study_id, sop_instance_uid=sop_instance_uid)


def _insert(connection: Connection, rows: Sequence[Mapping[str, Any]], now: datetime | None) -> None:
    """Insert new instances, open their studies, and record what is odd about them."""
    if not rows:
        return
    connection.execute(insert(Instance), rows)
    newest: dict[int, datetime] = {}
    for row in rows:
        if row["counts"] and not row["own_result"]:
            study_id, received_at = row["study_id"], row["received_at"]
            newest[study_id] = max(newest.get(study_id, received_at), received_at)
    ages_s = {
        study_id: max(0.0, (now - received_at).total_seconds()) if now else 0.0
        for study_id, received_at in sorted(newest.items())
    }
    _open(connection, ages_s)
    claims = Counter(row["study_id"] for row in rows if row["claims_ours"] and not row["own_result"])
    for study_id, instances in claims.items():
        events.record(connection, "claims_to_be_ours", study_id=study_id, instances=instances)
    for row in rows:
        if not row["counts"]:
            _note_other_bytes(connection, row["study_id"], row["sop_instance_uid"])


def _note_other_uids(connection: Connection, came: Mapping[_Key, Received]) -> None:
    """Record where the C-STORE request named another SOP Instance UID than the data set does."""
    for (study_id, uid, _), (_, reception) in came.items():
        affected = reception.affected_sop_instance_uid
        if affected and affected != uid:
            events.record(
                connection,
                "affected_uid_differs",
                study_id=study_id,
                sop_instance_uid=uid,
                affected_sop_instance_uid=affected,
            )


def _open(connection: Connection, ages_s: Mapping[int, float]) -> None:
    """Open studies, or keep them open; ``ages_s``: how long ago the newest instance of each came."""
    if not ages_s:
        return
    closed = connection.execute(
        select(Study.id).where(Study.id.in_(ages_s), Study.state != StudyState.OPEN).order_by(Study.id)
    ).scalars()
    for study_id in closed.all():
        events.record(connection, "received", study_id=study_id)
    for study_id, age_s in ages_s.items():
        came_at = func.clock_timestamp() - seconds(age_s)
        later = case(
            (Study.state == StudyState.OPEN, func.greatest(Study.last_received_at, came_at)), else_=came_at
        )
        connection.execute(
            update(Study).where(Study.id == study_id).values(state=StudyState.OPEN, last_received_at=later)
        )
