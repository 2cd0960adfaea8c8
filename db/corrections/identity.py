"""Whose images they are: by their headers, or by a correction that came later."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, case, insert, select, update

from db import events
from db.corrections.withdrawal import reopen, withdraw
from db.tables import IdentityCorrection, Instance, Study
from neurotriage.core.patient import PatientIdentity
from neurotriage.dicom.headers import RESULT_CLASSES
from neurotriage.dicom.patients import count_patients, has_id, identity_conflict, patient_key


@dataclass(frozen=True, slots=True)
class Owned:
    """An instance and the patient whose it is now."""

    id: int
    sop_instance_uid: str
    stated_key: str  # by its header
    patient_key: str  # now
    corrected_by: int | None
    counts: bool
    issuer: str  # of the patient's ID now; by the study, where no correction says it; empty if unknown


@dataclass(frozen=True, slots=True)
class Correction:
    """A correction, and the patient that it names."""

    id: int
    patient_key: str


def owned(connection: Connection, *where: ColumnElement[bool]) -> list[Owned]:
    """Instances that belong to their study, no results of ours, that meet all conditions; by their ids.

    ``where`` may name ``Instance`` and ``Study``. An object that merely claims to be ours is left out if it
    is no image, or if an image has replaced it.
    """
    beside = Instance.claims_ours & (Instance.sop_class_uid.in_(RESULT_CLASSES) | ~Instance.counts)
    rows = connection.execute(
        select(
            Instance.id,
            Instance.sop_instance_uid,
            Instance.patient_key,
            Instance.corrected_by,
            Instance.counts,
            IdentityCorrection.patient_id,
            IdentityCorrection.patient_name,
            IdentityCorrection.birth_date,
            case(
                (Instance.corrected_by.is_(None), Study.issuer_of_patient_id),
                else_=IdentityCorrection.issuer_of_patient_id,
            ).label("issuer"),
        )
        .join(Study, Study.id == Instance.study_id)
        .outerjoin(IdentityCorrection, IdentityCorrection.id == Instance.corrected_by)
        .where(~Instance.own_result, ~beside, Instance.removed.is_(None), *where)
        .order_by(Instance.id)
    )
    keys: dict[int | None, str] = {}
    return [
        Owned(
            row.id,
            row.sop_instance_uid,
            row.patient_key,
            row.patient_key
            if row.corrected_by is None
            else keys.setdefault(
                row.corrected_by, patient_key(row.patient_id, row.patient_name, row.birth_date)
            ),
            row.corrected_by,
            row.counts,
            row.issuer,
        )
        for row in rows
    ]


def conflict_of(connection: Connection, study_id: int) -> str | None:
    """Why the instances of a study must not be analysed together, if so: they are of several patients."""
    uid = connection.execute(select(Study.study_instance_uid).where(Study.id == study_id)).scalar_one()
    keys = {one.patient_key for one in owned(connection, Instance.study_id == study_id)}
    conflict = identity_conflict(keys, uid)
    return None if conflict is None else conflict.text


def corrections(connection: Connection, study_ids: Collection[int]) -> Mapping[int, Mapping[str, Correction]]:
    """By study, the newest corrections, by the key of the patient whom the headers name."""
    rows = connection.execute(
        select(
            Instance.study_id,
            Instance.patient_key,
            IdentityCorrection.id,
            IdentityCorrection.patient_id,
            IdentityCorrection.patient_name,
            IdentityCorrection.birth_date,
        )
        .join(IdentityCorrection, IdentityCorrection.id == Instance.corrected_by)
        .where(Instance.study_id.in_(study_ids))
        .distinct()
        .order_by(IdentityCorrection.id)
    )
    found: dict[int, dict[str, Correction]] = {}
    for row in rows:
        now = patient_key(row.patient_id, row.patient_name, row.birth_date)
        found.setdefault(row.study_id, {})[row.patient_key] = Correction(row.id, now)
    return found


def correction_for(known: Mapping[str, Correction], stated_key: str) -> Correction | None:
    """The correction that a further instance falls under whose header names this patient; the newest."""
    falling = (by for key, by in known.items() if count_patients((key, stated_key)) == 1)
    return max(falling, key=lambda by: by.id, default=None)


def identity(connection: Connection, correction_id: int) -> PatientIdentity:
    """The patient that a correction names."""
    row = connection.execute(select(IdentityCorrection).where(IdentityCorrection.id == correction_id)).one()
    return PatientIdentity(
        row.patient_id, row.issuer_of_patient_id, row.patient_name, row.birth_date, row.sex
    )


def correct(
    connection: Connection,
    study_id: int,
    to: PatientIdentity,
    *,
    made_by: str,
    reason: str,
    of_patient_id: str | None = None,
    of_issuers: Collection[str] = (),
) -> int | None:
    """Let the instances of a study be another patient's: results under the old one are withdrawn.

    ``of_patient_id``: only those that are this patient's now; None: all. ``of_issuers``: of these only those
    whose ID is of one of these issuers, or of none that is known; empty: of any. The study is analysed anew
    as soon as it is complete. The correction's id; None where nothing is to be corrected. Locks the study's
    row.
    """
    connection.execute(select(Study.id).where(Study.id == study_id).with_for_update(key_share=True))
    concerned = [
        one
        for one in owned(connection, Instance.study_id == study_id)
        if (of_patient_id is None or has_id(one.patient_key, of_patient_id))
        and (not of_issuers or one.issuer.strip() in ("", *of_issuers))
    ]
    if not concerned or _is_done(connection, concerned, to):
        return None
    correction_id = connection.execute(
        insert(IdentityCorrection)
        .values(
            study_id=study_id,
            made_by=made_by,
            reason=reason,
            patient_id=to.patient_id,
            issuer_of_patient_id=to.issuer,
            patient_name=to.name,
            birth_date=to.birth_date,
            sex=to.sex,
        )
        .returning(IdentityCorrection.id)
    ).scalar_one()
    connection.execute(
        update(Instance)
        .where(Instance.id.in_([one.id for one in concerned]))
        .values(corrected_by=correction_id)
    )
    connection.execute(
        update(Study)
        .where(Study.id == study_id)
        .values(patient_id=to.patient_id, issuer_of_patient_id=to.issuer)
    )
    events.record(
        connection,
        "identity_corrected",
        study_id=study_id,
        correction=correction_id,
        instances=len(concerned),
        made_by=made_by,
        reason=reason,
    )
    withdraw(connection, study_id, "the patient was corrected", correction=correction_id)
    reopen(connection, study_id, wait=False)
    return correction_id


def _is_done(connection: Connection, concerned: Iterable[Owned], to: PatientIdentity) -> bool:
    by = {one.corrected_by for one in concerned}
    return all(one is not None and identity(connection, one) == to for one in by)
