"""Whatever comes, is corrected and is rejected in whatever order: no result is of two patients."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, select, text

from db.corrections import identity, rejections
from db.studies import assembly, leases
from db.studies.analyses import record_analysis
from db.studies.instances import record_instances
from db.studies.leases import Lease
from db.studies.manifest import read_manifest
from db.tables import Instance, Revision, Study
from neurotriage.core.patient import PatientIdentity
from neurotriage.core.rejection import RejectionNote, RejectionTitle
from neurotriage.core.states import RevisionState
from neurotriage.core.storage import Storage
from neurotriage.core.values import (
    Outcome,
    ReasonCode,
    SeriesDecision,
    SliceScores,
    SliceSource,
    StudyManifest,
)
from neurotriage.dicom.headers import InstanceHeader
from neurotriage.dicom.patients import patient_key
from neurotriage.dicom.rejections import KEY_OBJECT_SELECTION
from tests.db.rows import NOW, RECEPTION, STUDY, analysis, header, written

PATIENTS = "ABC"
NUMBERS = (1, 2, 3)
STORAGE = Storage(Path("unused"))

ACTIONS = st.one_of(
    st.tuples(st.just("come"), st.sampled_from(NUMBERS), st.sampled_from(PATIENTS)),
    st.tuples(st.just("study comes"), st.none(), st.sampled_from(PATIENTS)),
    st.tuples(st.just("note"), st.sets(st.sampled_from(NUMBERS)), st.sampled_from(PATIENTS)),
    st.tuples(st.just("correct"), st.none(), st.sampled_from(PATIENTS)),
    st.tuples(st.just("merge"), st.sampled_from(PATIENTS), st.sampled_from(PATIENTS)),
    st.tuples(st.just("reject"), st.sampled_from(NUMBERS), st.none()),
    st.tuples(st.sampled_from(["freeze", "claim", "record"]), st.none(), st.none()),
    st.tuples(st.just("analyse"), st.none(), st.none()),
)


def image(number: int, patient: str) -> InstanceHeader:
    """The same picture for whichever patient."""
    return replace(header(number, content=patient, patient=patient), patient_key=patient_key(patient, "", ""))


def note(numbers: frozenset[int], patient: str, title: RejectionTitle) -> InstanceHeader:
    """A rejection note of another maker."""
    named = sorted(numbers)
    uids = tuple((STUDY, f"{STUDY}.9.{number}") for number in named)
    return replace(
        image(1000 + sum(2**n for n in named) * 10 + PATIENTS.index(patient), patient),
        sop_class_uid=KEY_OBJECT_SELECTION,
        series_instance_uid=f"{STUDY}.7",
        modality="KO",
        rejection=RejectionNote(title, uids),
    )


@dataclass
class Hospital:
    """One study, one worker, and a check of everything that stands after each move."""

    connection: Connection
    held: tuple[Lease, StudyManifest] | None = None
    recorded: dict[int, tuple[str, frozenset[str]]] = field(default_factory=dict)  # patient, UIDs
    objects: int = 0

    @property
    def study_id(self) -> int | None:
        return self.connection.execute(select(Study.id)).scalar_one_or_none()

    def do(self, action: str, what: object, patient: str | None) -> None:
        """One thing that happens."""
        study_id = self.study_id
        if action == "come":
            assert isinstance(what, int)
            self._record(image(what, patient or ""))
        elif action == "study comes":
            for number in NUMBERS:
                self._record(image(number, patient or ""))
        elif action == "note":
            assert isinstance(what, set)
            self._record(note(frozenset(what), patient or "", RejectionTitle.PATIENT_SAFETY))
        elif study_id is None:
            return
        elif action in ("correct", "merge"):
            old = what if isinstance(what, str) else None
            to = PatientIdentity(patient or "")
            identity.correct(self.connection, study_id, to, made_by="t", reason="r", of_patient_id=old)
        elif action == "reject":
            rejections.reject(self.connection, study_id, instance=f"{STUDY}.9.{what}", reason="r")
        elif action == "freeze":
            assembly.freeze(self.connection, study_id, idle_s=0, completed_by="quiet")
        elif action == "claim":
            self._claim()
        elif action == "analyse":
            for step in ("record", "freeze", "claim", "record"):
                self.do(step, None, None)
        else:
            self._finish()

    def _record(self, one: InstanceHeader) -> None:
        record_instances(self.connection, [(one, RECEPTION)])

    def _claim(self) -> None:
        held = leases.claim_next(self.connection, owner="w", lease_s=60, attempts=9)
        if held is not None:
            self.held = held, read_manifest(self.connection, held.revision_id, STORAGE)

    def _finish(self) -> None:
        """Write what the worker made of the manifest that it read, however long ago."""
        if self.held is None:
            return
        (held, manifest), self.held = self.held, None
        uids = frozenset(i.sop_instance_uid for series in manifest.series for i in series.instances)
        result = analysis(digest=manifest.digest, revision=manifest.revision)
        slices = tuple(SliceSource(uid, None, None) for uid in sorted(uids))
        scores = SliceScores((0.1,) * len(slices), (0.1,) * len(slices))
        decision = SeriesDecision(f"{STUDY}.1", Outcome.PRESENT, result.reasons[0], scores, slices=slices)
        objects = []
        if manifest.conflict is None:
            result = replace(result, series=(decision,))
            self.objects += 1
            objects = [written(self.objects, "pacs")]
        patient = self._patient_of(manifest)
        if record_analysis(self.connection, held, result, NOW, objects) and manifest.conflict is None:
            self.recorded[held.revision_id] = patient, uids

    def _patient_of(self, manifest: StudyManifest) -> str:
        """Whom the results of a manifest name."""
        if manifest.conflict is not None:
            return ""
        if manifest.patient is not None:
            return manifest.patient.patient_id
        stated = {
            next(patient for patient in PATIENTS if self._digest(i.sop_instance_uid, patient) == i.digest)
            for series in manifest.series
            for i in series.instances
        }
        (patient,) = stated
        return patient

    @staticmethod
    def _digest(sop_instance_uid: str, patient: str) -> str:
        return image(int(sop_instance_uid.rpartition(".")[2]), patient).digest

    def check(self) -> None:
        """Every result that stands is of the patient whose all its images are now."""
        standing = self.connection.execute(
            select(Revision.id).where(Revision.state == RevisionState.ANALYSED, ~Revision.superseded)
        ).scalars()
        for revision_id in standing:
            if revision_id not in self.recorded:
                continue
            patient, uids = self.recorded[revision_id]
            assert self._owners(revision_id) == {(uid, patient) for uid in uids}
        waiting = self.connection.execute(
            text(
                "select count(*) from deliveries d join result_objects o on o.id = d.result_object_id "
                "join analyses a on a.id = o.analysis_id join revisions r on r.id = a.revision_id "
                "where r.state = 'withdrawn' and d.state in ('waiting', 'sending')"
            )
        ).scalar_one()
        assert waiting == 0

    def _owners(self, revision_id: int) -> set[tuple[str, str]]:
        """The images of a revision that still belong to the study, each with its patient, by the rows."""
        keys = {patient_key(patient, "", ""): patient for patient in PATIENTS}
        rows = self.connection.execute(
            text(
                "select i.sop_instance_uid, c.patient_id, i.patient_key from revision_instances x "
                "join instances i on i.id = x.instance_id "
                "left join identity_corrections c on c.id = i.corrected_by "
                "where x.revision_id = :revision and i.counts and i.removed is null"
            ),
            {"revision": revision_id},
        )
        return {(row[0], row[1] or keys[row[2]]) for row in rows}


@given(st.lists(ACTIONS, max_size=24))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_in_whatever_order_no_result_is_of_two_patients_and_every_study_ends(
    engine: Engine, actions: list[tuple[str, object, str | None]]
) -> None:
    with engine.connect() as connection, connection.begin() as transaction:
        hospital = Hospital(connection)
        for action, what, patient in actions:
            hospital.do(action, what, patient)
            hospital.check()
        for action in ("record", "freeze", "claim", "record", "claim", "record", "claim"):
            hospital.do(action, None, None)
            hospital.check()
        assert hospital.held is None
        states = connection.execute(select(Study.state)).scalars().all()
        assert set(states) <= {"quiet"}
        pending = select(Revision.id).where(Revision.state.in_(("ready", "analysing")))
        assert connection.execute(pending).all() == []
        _check_end(connection)
        transaction.rollback()


def _check_end(connection: Connection) -> None:
    """The newest revision is of all images that belong to the study, or says why there are none."""
    newest = connection.execute(select(Revision).order_by(Revision.number.desc()).limit(1)).one_or_none()
    counted = connection.execute(
        select(Instance.sop_instance_uid).where(Instance.counts, Instance.removed.is_(None))
    ).scalars()
    if newest is None:
        assert list(counted) == []
        return
    assert newest.state != RevisionState.WITHDRAWN
    manifest = read_manifest(connection, newest.id, STORAGE)
    uids = [i.sop_instance_uid for series in manifest.series for i in series.instances]
    assert sorted(uids) == sorted(counted)
    if not uids:
        assert manifest.conflict is not None
        assert manifest.conflict.code is ReasonCode.IMAGES_WITHDRAWN
