"""Rejected instances: they no longer belong to their study, and results that show them are withdrawn."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, and_, select, true, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from db import events
from db.corrections.identity import Owned, owned
from db.corrections.withdrawal import reopen, rests_on, withdraw
from db.tables import Instance, RejectedInstance, Series, Study
from neurotriage.core.rejection import RejectionNote
from neurotriage.dicom.patients import count_patients, has_id, states_id

REJECTED: Final = "rejected"  # Instance.removed
NOTE: Final = "note"  # Instance.removed of a rejection note itself
COMMAND: Final = "command"  # RejectedInstance.title

_Uids = tuple[str, str]  # Study and SOP Instance UID


@dataclass(frozen=True, slots=True)
class ReceivedNote:
    """A rejection note that came, in the study that it is filed in."""

    study_id: int
    sop_instance_uid: str
    patient_key: str
    note: RejectionNote


def rejected_before(connection: Connection, uids: Collection[_Uids]) -> Mapping[_Uids, Sequence[str]]:
    """The keys of the patients for whom these instances were rejected."""
    identity = RejectedInstance.study_instance_uid, RejectedInstance.sop_instance_uid
    rows = connection.execute(
        select(*identity, RejectedInstance.patient_key).where(tuple_(*identity).in_(uids))
    )
    found: dict[_Uids, list[str]] = defaultdict(list)
    for row in rows:
        found[row.study_instance_uid, row.sop_instance_uid].append(row.patient_key)
    return found


def is_of_one(keys: Iterable[str], patient_key: str) -> bool:
    """Whether one of the keys, of rejections, is of the same patient.

    An instance sent again for another is not rejected. A rejection without a Patient ID concerns whoever has
    the very same name and birth date, for it might be anybody's.
    """
    return any(
        key == patient_key or (states_id(key) and count_patients((key, patient_key)) == 1) for key in keys
    )


def take_note(connection: Connection, received: ReceivedNote) -> None:
    """Apply a rejection note; the rows of the studies that it names must be locked.

    A title that speaks of age alone (113039) is recorded, and changes nothing.
    """
    note = received.note
    events.record(
        connection,
        "rejection_note",
        study_id=received.study_id,
        title=note.title,
        instances=len(note.instances),
        sop_instance_uid=received.sop_instance_uid,
    )
    if not note.title.withdraws or not note.instances:
        return
    _remember(connection, note.instances, received.patient_key, note.title, received.sop_instance_uid)
    for study_id, found in _instances(connection, note.instances).items():
        same = [
            one
            for one in found
            if is_of_one([received.patient_key], one.patient_key)
            or is_of_one([received.patient_key], one.stated_key)
        ]
        remove(connection, study_id, same, title=note.title, wait=True)


def reject(
    connection: Connection, study_id: int, *, series: str = "", instance: str = "", reason: str
) -> int:
    """Reject the images of a study, or those of one series, or one, by command; how many there are.

    Locks the study's row.
    """
    uid = connection.execute(
        select(Study.study_instance_uid).where(Study.id == study_id).with_for_update(key_share=True)
    ).scalar_one()
    of_series = select(Series.id).where(Series.study_id == study_id, Series.series_instance_uid == series)
    instances = owned(
        connection,
        Instance.study_id == study_id,
        Instance.series_id.in_(of_series) if series else true(),
        Instance.sop_instance_uid == instance if instance else true(),
    )
    for one in instances:
        _remember(connection, [(uid, one.sop_instance_uid)], one.patient_key, COMMAND, "")
    remove(connection, study_id, instances, title=COMMAND, wait=False, reason=reason)
    return sum(one.counts for one in instances)


def remove(
    connection: Connection,
    study_id: int,
    instances: Sequence[Owned],
    *,
    title: str,
    wait: bool,
    **detail: Any,
) -> None:
    """Take instances out of a study, whose row must be locked.

    A further revision is made without them; ``wait``: once nothing has come for a while. ``detail`` goes into
    the event.
    """
    if not instances:
        return
    counted = [one.sop_instance_uid for one in instances if one.counts]
    connection.execute(
        update(Instance)
        .where(Instance.id.in_([one.id for one in instances]))
        .values(counts=False, removed=REJECTED)
    )
    events.record(connection, REJECTED, study_id=study_id, instances=len(instances), title=title, **detail)
    if rests_on(connection, study_id, counted):
        withdraw(connection, study_id, "images that it shows were rejected", title=title)
    _forget_patient(connection, study_id)
    reopen(connection, study_id, wait=wait)


def _forget_patient(connection: Connection, study_id: int) -> None:
    """Let the study's row name no patient where all images of that patient are gone and others are left."""
    patient_id = connection.execute(select(Study.patient_id).where(Study.id == study_id)).scalar_one()
    left = owned(connection, Instance.study_id == study_id)
    if patient_id and left and not any(has_id(one.patient_key, patient_id) for one in left):
        nobody = {"patient_id": "", "issuer_of_patient_id": "", "accession_number": ""}
        connection.execute(update(Study).where(Study.id == study_id).values(**nobody))


def _remember(
    connection: Connection, instances: Iterable[_Uids], patient_key: str, title: str, note_uid: str
) -> None:
    connection.execute(
        insert(RejectedInstance).on_conflict_do_nothing(),
        [
            {
                "study_instance_uid": study,
                "sop_instance_uid": uid,
                "patient_key": patient_key,
                "title": title,
                "note_sop_instance_uid": note_uid,
            }
            for study, uid in instances
        ],
    )


def _instances(connection: Connection, uids: Collection[_Uids]) -> Mapping[int, Sequence[Owned]]:
    by_study: dict[str, list[str]] = defaultdict(list)
    for study, uid in uids:
        by_study[study].append(uid)
    found: dict[int, Sequence[Owned]] = {}
    for study_uid, named in sorted(by_study.items()):
        study_id = connection.execute(
            select(Study.id).where(Study.study_instance_uid == study_uid)
        ).scalar_one_or_none()
        if study_id is not None:
            found[study_id] = owned(
                connection, and_(Instance.study_id == study_id, Instance.sop_instance_uid.in_(named))
            )
    return found
