"""Which of several instances under one SOP Instance UID stands for it."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from datetime import datetime
from enum import IntEnum
from typing import Final

from sqlalchemy import Connection, select, tuple_

from db.corrections.identity import correction_for, corrections
from db.corrections.rejections import NOTE, REJECTED, is_of_one, rejected_before
from db.studies.parents import Received
from db.tables import IdentityCorrection, Instance, ResultObjectRow
from neurotriage.core.reception import Reception
from neurotriage.dicom.headers import RESULT_CLASSES, InstanceHeader
from neurotriage.dicom.patients import count_patients, patient_key, states_id

Uid = tuple[int, str]  # study, SOP Instance UID
Key = tuple[int, str, str]  # and the digest
REPLACED: Final = "replaced"  # Instance.removed


class Standing(IntEnum):
    """Of several instances under one UID the one of the highest standing counts; of equal ones, the first."""

    OURS = 0  # by our records; no image of a study
    CLAIMS_OURS = 1  # says so without proof
    ORDINARY = 2


@dataclass(frozen=True, slots=True)
class Candidate:
    """An instance that may stand for its SOP Instance UID."""

    standing: Standing
    patient_key: str  # of whoever it is now
    picture: tuple[object, ...]  # what the header says of it but for the patient, as far as it is recorded
    received_at: datetime | None  # last; files are not recorded in the order in which they came
    removed: str | None = None  # as in the table of instances
    corrected_by: int | None = None
    id: int | None = None  # None: it is not recorded yet
    counts: bool = False

    def takes_the_place_of(self, holder: "Candidate | None") -> bool:
        """Whether it counts from now on, and what counted before does not.

        The first instance counts, but for two cases: one that merely names us as its maker makes way for one
        that does not, and a picture that comes again under another patient is a correction by its sender.
        """
        if self.removed not in (None, REPLACED):
            return False
        if holder is None or self.standing != holder.standing:
            return holder is None or self.standing > holder.standing
        return self.corrects(holder)

    def corrects(self, other: "Candidate") -> bool:
        """Whether it is the same picture, sent later, of another patient or of one who had no ID before."""
        if self.picture != other.picture or _is_before(self.received_at, other.received_at):
            return False
        identified = states_id(self.patient_key) and not states_id(other.patient_key)
        return identified or count_patients((self.patient_key, other.patient_key)) > 1


def _is_before(one: datetime | None, other: datetime | None) -> bool:
    return one is not None and other is not None and one < other


class Holders:
    """Which instance stands for each SOP Instance UID, while a batch comes in.

    ``replaced``: those whose place the same picture of another patient has taken; ``of_other_patients``: by
    study, the last one that has taken such a place.
    """

    def __init__(self, known: Mapping[Key, Candidate]) -> None:
        self.candidates = dict(known)
        self.replaced: set[Key] = set()
        self.of_other_patients: dict[int, Key] = {}
        self._holder: dict[Uid, Key] = {key[:2]: key for key, one in known.items() if one.counts}

    def holds(self, key: Key) -> bool:
        return self._holder.get(key[:2]) == key

    def removed(self, key: Key) -> str | None:
        """Why an instance belongs to its study no more, as in the table."""
        if key in self.replaced:
            return REPLACED
        removed = self.candidates[key].removed
        return None if removed == REPLACED and self.holds(key) else removed

    def came(self, key: Key, candidate: Candidate | None, received_at: datetime | None) -> bool:
        """Let an instance come, None where it is known; whether it counts now and did not before."""
        self.candidates[key] = one = candidate or replace(self.candidates[key], received_at=received_at)
        holder_key = self._holder.get(key[:2])
        holder = None if holder_key is None else self.candidates[holder_key]
        if holder_key == key:
            return False
        if not one.takes_the_place_of(holder):
            if holder is not None and one.removed is None and holder.corrects(one):
                self.replaced.add(key)  # it came before what has replaced it
            return False
        if holder is not None and holder_key is not None and _are_of_two(one, holder):
            self.of_other_patients[key[0]] = key
            if one.standing == holder.standing:
                self.replaced.add(holder_key)
        self.replaced.discard(key)
        self._holder[key[:2]] = key
        return True


def _are_of_two(one: Candidate, other: Candidate) -> bool:
    return one.corrects(other) or count_patients((one.patient_key, other.patient_key)) > 1


def known_candidates(
    connection: Connection,
    studies: Mapping[str, int],
    received: Iterable[Received],
    rejected: Mapping[Uid, Sequence[str]],
) -> dict[Key, Candidate]:
    """The instances that came before under the same UIDs; ``rejected``: as ``rejections`` gives it."""
    uids = {(studies[header.study_instance_uid], header.sop_instance_uid) for header, _ in received}
    rows = connection.execute(
        select(
            Instance,
            IdentityCorrection.patient_id,
            IdentityCorrection.patient_name,
            IdentityCorrection.birth_date,
        )
        .outerjoin(IdentityCorrection, IdentityCorrection.id == Instance.corrected_by)
        .where(tuple_(Instance.study_id, Instance.sop_instance_uid).in_(uids))
    )
    found = {}
    for row in rows:
        now = (
            row.patient_key
            if row.corrected_by is None
            else patient_key(row.patient_id, row.patient_name, row.birth_date)
        )
        # One that another had replaced when it was rejected must not come back.
        keys = rejected.get((row.study_id, row.sop_instance_uid), ())
        was_rejected = row.removed == REPLACED and (is_of_one(keys, now) or is_of_one(keys, row.patient_key))
        found[row.study_id, row.sop_instance_uid, row.digest] = Candidate(
            _standing(own_result=row.own_result, claims_ours=row.claims_ours),
            now,
            (
                row.series_id,
                row.sop_class_uid,
                row.instance_number,
                row.grid,
                row.position_mm,
                row.extent_mm,
                row.frames,
                row.acquisition_number,
                row.images_stated,
            ),
            row.received_at,
            removed=REJECTED if was_rejected else row.removed,
            corrected_by=row.corrected_by,
            id=row.id,
            counts=row.counts,
        )
    return found


def rejections(
    connection: Connection, studies: Mapping[str, int], received: Iterable[Received]
) -> Mapping[Uid, Sequence[str]]:
    """The keys of the patients for whom instances under these UIDs were rejected."""
    uids = {(header.study_instance_uid, header.sop_instance_uid) for header, _ in received}
    found: dict[Uid, Sequence[str]] = defaultdict(tuple)
    for (study, uid), keys in rejected_before(connection, uids).items():
        found[studies[study], uid] = keys
    return found


class NewCandidates:
    """Makes candidates of the instances of a batch."""

    def __init__(
        self,
        connection: Connection,
        studies: Mapping[str, int],
        received: Collection[Received],
        installations: Collection[str],
        rejected: Mapping[Uid, Sequence[str]],
    ) -> None:
        self._ours = _ours(connection, received, installations)
        self._corrections = corrections(connection, studies.values())
        self._rejected = rejected

    def of(self, header: InstanceHeader, reception: Reception, study_id: int, series_id: int) -> Candidate:
        """The candidate that an instance is which is not recorded yet."""
        standing = _standing(
            own_result=(header.sop_class_uid, header.sop_instance_uid) in self._ours,
            claims_ours=header.claims_ours,
        )
        rejected_for = self._rejected.get((study_id, header.sop_instance_uid), ())
        correction = correction_for(self._corrections.get(study_id, {}), header.patient_key)
        now = header.patient_key if correction is None else correction.patient_key
        return Candidate(
            standing,
            now,
            (series_id, header.sop_class_uid, header.instance_number, *astuple(header.placement)),
            reception.received_at,
            removed=_removed(
                header,
                standing,
                is_of_one(rejected_for, now) or is_of_one(rejected_for, header.patient_key),
            ),
            corrected_by=None if correction is None else correction.id,
        )


def _removed(header: InstanceHeader, standing: Standing, was_rejected: bool) -> str | None:
    if standing is Standing.ORDINARY and header.rejection is not None:
        return NOTE
    return REJECTED if was_rejected and standing is not Standing.OURS else None


def _standing(*, own_result: bool, claims_ours: bool) -> Standing:
    if own_result:
        return Standing.OURS
    return Standing.CLAIMS_OURS if claims_ours else Standing.ORDINARY


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
