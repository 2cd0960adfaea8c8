"""An identity that is corrected later, and images that are rejected: what was said before is withdrawn."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, FileDataset, dcmread

from db.corrections import identity
from db.studies import assembly
from db.studies.instances import record_instances
from neurotriage.core.evidence import Evidence
from neurotriage.core.patient import PatientIdentity
from neurotriage.core.rejection import RejectionNote, RejectionTitle
from neurotriage.core.settings import Settings
from neurotriage.core.values import Analysis
from neurotriage.demo.pacs import StandInPacs
from neurotriage.dicom.headers import describe
from neurotriage.dicom.rejections import KEY_OBJECT_SELECTION
from tests.db.rows import RECEPTION
from tests.worker.studies import head_ct
from tests.worker.test_living_results import Stub
from tests.worker.test_living_results import model as model_of_a_living_study
from tests.worker.test_tasks import STUDY, WorkerSite, site
from worker.analysis import Selection, analyse
from worker.delivery import deliver

__all__ = ["model_of_a_living_study", "site"]  # the fixtures

A = {
    "PatientID": "A1",
    "PatientName": "Alpha^Anna",
    "PatientBirthDate": "19500101",
    "PatientSex": "F",
    "OtherPatientIDs": "A-OLD",
    "PatientWeight": "61",
    "PatientComments": "of Anna",
}
B = {"PatientID": "B2", "PatientName": "Beta^Bert", "PatientBirthDate": "19600202", "PatientSex": "M"}


class Archive:
    """The archive's side: what came since the last look."""

    def __init__(self, site: WorkerSite, pacs: StandInPacs) -> None:
        self.site, self.pacs = site, pacs
        self.seen: set[str] = set()
        settings = site.worker.settings.model_dump()
        settings["destination"] = [{**settings["destination"][0], "port": pacs.port, "rejection_notes": True}]
        site.worker.settings = Settings.model_validate(settings)

    def new(self) -> list[FileDataset]:
        deliver(self.site.engine, self.site.worker.settings, "pacs", owner="test")
        received = self.pacs.received()
        fresh = [dcmread(path) for uid, path in received.items() if uid not in self.seen]
        self.seen = set(received)
        return fresh


@pytest.fixture
def model(model_of_a_living_study: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """No tumour in whatever may be analysed at all."""

    def judge(selection: Selection, *more: Any) -> tuple[Analysis, Evidence]:
        if selection.manifest.conflict is not None:
            return analyse(selection, *more)
        return model_of_a_living_study(selection, *more)

    monkeypatch.setattr("worker.attempt.analyse", judge)


@pytest.fixture
def archive(site: WorkerSite, tmp_path: Path) -> Iterator[Archive]:
    pacs = StandInPacs(tmp_path / "pacs").start()
    try:
        yield Archive(site, pacs)
    finally:
        pacs.stop()


def _analyse_next(site: WorkerSite) -> None:
    site.worker.analyse(0)


def _freeze(site: WorkerSite) -> None:
    with site.engine.begin() as connection:
        assert assembly.freeze(connection, 1, idle_s=0, completed_by="quiet") is not None


def _notes(objects: Sequence[Dataset]) -> list[Dataset]:
    return [d for d in objects if str(d.get("SeriesNumber")) == "9919"]


def _named(note: Dataset) -> set[str]:
    return {
        str(item.ReferencedSOPInstanceUID)
        for series in note.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }


def _all_of(objects: Sequence[Dataset], patient_id: str) -> bool:
    return bool(objects) and all(d.PatientID == patient_id for d in objects)


def _is_told(note: Dataset, old: Sequence[Dataset]) -> None:
    """A note of patient A that hides every object of A's."""
    (title,) = note.ConceptNameCodeSequence
    assert (title.CodeValue, title.CodingSchemeDesignator) == ("113037", "DCM")
    assert _named(note) == {str(d.SOPInstanceUID) for d in old}
    assert (note.PatientID, str(note.PatientName)) == ("A1", "Alpha^Anna")


def test_a_study_sent_again_under_another_patient_is_analysed_anew_and_the_old_results_are_rejected(
    site: WorkerSite, model: None, archive: Archive
) -> None:
    site.worker.analyse(site.receive(head_ct(**A)))
    old = archive.new()
    assert _all_of(old, "A1")
    site.worker.analyse(site.receive(head_ct(**B)))
    came = archive.new()
    (note,) = _notes(came)
    _is_told(note, old)
    new = [d for d in came if d is not note]
    assert _all_of(new, "B2")
    assert {d.Modality for d in new} == {d.Modality for d in old}
    assert not any("PredecessorDocumentsSequence" in d for d in new)
    assert site.rows("select state from revisions order by number") == [("withdrawn",), ("analysed",)]
    assert site.rows("select patient_id from studies") == [("B2",)]


def test_a_study_sent_again_in_part_ends_with_a_name_and_then_as_the_other_patients(
    site: WorkerSite, model: None, archive: Archive
) -> None:
    site.worker.analyse(site.receive(head_ct(**A)))
    old = archive.new()
    corrected = head_ct(**B)
    site.worker.analyse(site.receive(corrected[:5]))
    (note,) = archive.new()
    _is_told(note, old)
    assert site.codes() == ["identity_conflict"]
    site.worker.analyse(site.receive(corrected[5:]))
    assert _all_of(archive.new(), "B2")


def test_results_after_a_correction_by_command_name_the_new_patient_and_nothing_of_the_old_one(
    site: WorkerSite, model: None, archive: Archive
) -> None:
    site.worker.analyse(site.receive(head_ct(**A)))
    old = archive.new()
    to = PatientIdentity("B2", "HOSPITAL", "Bëta^Bert", "19600202")
    with site.engine.begin() as connection:
        assert identity.correct(connection, 1, to, made_by="test", reason="wrong entry") is not None
        assert identity.correct(connection, 1, to, made_by="test", reason="again") is None
    _freeze(site)
    _analyse_next(site)
    came = archive.new()
    (note,) = _notes(came)
    _is_told(note, old)
    new = [d for d in came if d is not note]
    assert _all_of(new, "B2")
    assert not {d.SOPInstanceUID for d in new} & {d.SOPInstanceUID for d in old}
    for dataset in new:
        assert (dataset.IssuerOfPatientID, str(dataset.PatientName)) == ("HOSPITAL", "Bëta^Bert")
        assert (dataset.PatientBirthDate, dataset.PatientSex) == ("19600202", "")
        for value in ("Anna", "A-OLD", "A1", "61"):
            assert value not in str(dataset.get("PatientComments", "")) + str(
                dataset.get("OtherPatientIDs", "")
            )
        assert "PatientWeight" not in dataset
        assert dataset.StudyInstanceUID == STUDY


def test_another_correction_back_makes_objects_that_no_note_has_rejected(
    site: WorkerSite, model: None, archive: Archive
) -> None:
    site.worker.analyse(site.receive(head_ct(**A)))
    made = [archive.new()]
    for patient in ("B2", "A1"):
        with site.engine.begin() as connection:
            identity.correct(connection, 1, PatientIdentity(patient), made_by="test", reason="")
        _freeze(site)
        _analyse_next(site)
        made.append(archive.new())
    rejected = {uid for objects in made for note in _notes(objects) for uid in _named(note)}
    current = {str(d.SOPInstanceUID) for d in made[-1] if not _notes([d])}
    assert current
    assert not rejected & current


def _reject(site: WorkerSite, instances: Sequence[Dataset], title: RejectionTitle, **patient: object) -> None:
    """The note that a PACS sends on."""
    note = Dataset()
    note.SOPClassUID, note.SOPInstanceUID = KEY_OBJECT_SELECTION, "2.25.9919"
    note.StudyInstanceUID, note.SeriesInstanceUID, note.Modality = STUDY, "2.25.99190", "KO"
    for keyword, value in patient.items():
        setattr(note, keyword, value)
    rejected = RejectionNote(title, tuple((STUDY, str(d.SOPInstanceUID)) for d in instances))
    with site.engine.begin() as connection:
        header = replace(describe(note, Path("unused"), "n" * 64), rejection=rejected)
        record_instances(connection, [(header, RECEPTION)])


def test_results_of_images_that_were_rejected_are_withdrawn_and_the_study_ends_with_a_name(
    site: WorkerSite, model: None, archive: Archive
) -> None:
    site.worker.analyse(site.receive(head_ct(**A)))
    old = archive.new()
    _reject(site, head_ct(**A), RejectionTitle.QUALITY, **A)
    _freeze(site)
    _analyse_next(site)
    (note,) = archive.new()
    _is_told(note, old)
    assert site.codes() == ["images_withdrawn"]
    assert site.rows("select state, outcome from study_results") == [("analysed", "not_eligible")]


def test_a_note_that_images_were_deleted_for_their_age_withdraws_nothing(
    site: WorkerSite, model: None, archive: Archive
) -> None:
    site.worker.analyse(site.receive(head_ct(**A)))
    archive.new()
    _reject(site, head_ct(**A), RejectionTitle.RETENTION, **A)
    assert site.rows("select state from studies") == [("quiet",)]
    assert site.rows("select state from revisions") == [("analysed",)]
    assert archive.new() == []


def test_a_note_that_is_ours_or_says_so_rejects_nothing(site: WorkerSite, model: None) -> None:
    site.worker.analyse(site.receive(head_ct(**A)))
    _reject(site, head_ct(**A), RejectionTitle.PATIENT_SAFETY, **A, Manufacturer="neurotriage")
    assert site.rows("select state from revisions") == [("analysed",)]


def test_a_correction_stops_a_worker_that_is_at_it_and_what_waits_to_be_sent(
    site: WorkerSite, model: None, archive: Archive
) -> None:
    site.worker.analyse(site.receive(head_ct(**A)))
    with site.engine.begin() as connection:
        identity.correct(connection, 1, PatientIdentity("B2"), made_by="test", reason="")
    assert archive.new() == []
    assert site.rows("select outcome, state from study_results") == [(None, "withdrawn")]
    _freeze(site)
    _analyse_next(site)
    assert _all_of(archive.new(), "B2")  # and no note: nothing of A's was ever sent
