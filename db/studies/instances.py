"""Received instances to rows: a batch costs as many statements as one instance does."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Connection, Float, case, func, select, update
from sqlalchemy.dialects.postgresql import insert

from db import events
from db.clock import seconds
from db.columns import columns
from db.corrections.rejections import NOTE, ReceivedNote, take_note
from db.corrections.withdrawal import withdraw
from db.studies import priority
from db.studies.parents import Received, lock_studies, series_ids
from db.studies.repeat import last_failed
from db.studies.standing import (
    Candidate,
    Holders,
    Key,
    NewCandidates,
    Standing,
    known_candidates,
    rejections,
)
from db.tables import Instance, Study
from neurotriage.core.priority import Judgement
from neurotriage.core.reception import Reception
from neurotriage.core.states import StudyState
from neurotriage.dicom.headers import InstanceHeader
from neurotriage.dicom.priority import NO_RULES, PriorityRules


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
    known SOP Instance UID are kept and marked (``standing.Candidate.takes_the_place_of``). What was said of a
    study is withdrawn where an image comes again under another patient, and where a rejection note names an
    image that results show. Results of ours never open a study: an object is ours where it stands in our
    records, or where one of the ``installations`` made it and it is of a class that is never analysed. The
    headers need all four UIDs. Locks the rows of the studies until the transaction ends, and raises their
    class by ``priorities``.

    ``now``: by the clock to which ``received_at`` belongs; without it, all are taken to have come now.
    """
    # Their rows are locked from here on, so that two batches of a study come one after the other.
    studies = lock_studies(connection, received)
    series = series_ids(connection, studies, received)
    rejected = rejections(connection, studies, received)
    known = known_candidates(connection, studies, received, rejected)
    holders = Holders(known)
    candidates = NewCandidates(connection, studies, received, installations, rejected)
    fresh: dict[Key, dict[str, Any]] = {}
    came: dict[Key, Received] = {}
    repeated: Counter[int] = Counter()
    new = []
    for header, reception in received:
        study_id = studies[header.study_instance_uid]
        key = study_id, header.sop_instance_uid, header.digest
        candidate = None
        if key in known:
            repeated[known[key].id or 0] += 1
        elif key in fresh:
            fresh[key]["times_received"] += 1
        else:
            series_id = series[study_id, header.series_instance_uid]
            candidate = candidates.of(header, reception, study_id, series_id)
            fresh[key] = _row(header, reception, study_id, series_id, candidate)
        came[key] = header, reception
        new.append(holders.came(key, candidate, reception.received_at))
    for key, row in fresh.items():
        row |= {"counts": holders.holds(key), "removed": holders.removed(key)}
    _prioritise(connection, studies, received, holders, known.keys(), priorities)
    _count(connection, repeated)
    _start_again(connection, repeated)
    _change_holders(connection, known, holders)
    _insert(connection, list(fresh.values()), now)
    _note_other_uids(connection, {key: came[key] for key in fresh})
    _change_patients(connection, holders, came)
    _take_notes(connection, [(key[0], came[key][0]) for key in fresh if holders.removed(key) == NOTE])
    return new


def _prioritise(
    connection: Connection,
    studies: Mapping[str, int],
    received: Iterable[Received],
    holders: Holders,
    known: Collection[Key],
    rules: PriorityRules,
) -> None:
    """Let what came judge the class of its studies; results of ours say nothing."""
    judged: dict[int, list[Judgement]] = defaultdict(list)
    again = set()
    for header, reception in received:
        key = studies[header.study_instance_uid], header.sop_instance_uid, header.digest
        if holders.candidates[key].standing is not Standing.OURS:
            judged[key[0]].append(rules.judge(header, reception))
            if key in known:
                again.add(key[0])
    priority.note(connection, judged, sent_again=again)


def _row(
    header: InstanceHeader,
    reception: Reception,
    study_id: int,
    series_id: int,
    candidate: Candidate,
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
        "own_result": candidate.standing is Standing.OURS,
        "claims_ours": header.claims_ours,
        "corrected_by": candidate.corrected_by,
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


def _change_holders(connection: Connection, known: Mapping[Key, Candidate], holders: Holders) -> None:
    """Write which of the known instances count no more, and which count again."""
    lost = [key for key, one in known.items() if one.counts and not holders.holds(key)]
    won = [key for key, one in known.items() if not one.counts and holders.holds(key)]
    for key in (*lost, *won):
        connection.execute(
            update(Instance)
            .where(Instance.id == known[key].id)
            .values(counts=holders.holds(key), removed=holders.removed(key))
        )
    for key in lost:
        if key not in holders.replaced:
            _note_other_bytes(connection, key[0], key[1])
    _open(connection, dict.fromkeys({key[0] for key in won}, 0.0))


def _change_patients(connection: Connection, holders: Holders, came: Mapping[Key, Received]) -> None:
    """Withdraw what was said of studies of which images came again under another patient."""
    for study_id, key in holders.of_other_patients.items():
        header = came[key][0]
        connection.execute(
            update(Study)
            .where(Study.id == study_id)
            .values(
                patient_id=header.patient_id,
                issuer_of_patient_id=header.issuer_of_patient_id,
                accession_number=header.accession_number,
            )
        )
        withdraw(connection, study_id, "images came again under another patient")


def _take_notes(connection: Connection, notes: Iterable[tuple[int, InstanceHeader]]) -> None:
    for study_id, header in notes:
        if header.rejection is not None:
            received = ReceivedNote(study_id, header.sop_instance_uid, header.patient_key, header.rejection)
            take_note(connection, received)


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
        if not row["counts"] and row["removed"] is None:
            _note_other_bytes(connection, row["study_id"], row["sop_instance_uid"])


def _note_other_uids(connection: Connection, came: Mapping[Key, Received]) -> None:
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
    events.record_all(connection, "received", {study_id: {} for study_id in closed})
    came = columns(study_id=(BigInteger, list(ages_s)), age_s=(Float, list(ages_s.values())))
    came_at = func.clock_timestamp() - seconds(came.c.age_s)
    later = case(
        (Study.state == StudyState.OPEN, func.greatest(Study.last_received_at, came_at)), else_=came_at
    )
    connection.execute(
        update(Study).where(Study.id == came.c.study_id).values(state=StudyState.OPEN, last_received_at=later)
    )
