"""A study turns out to be another patient's: its archive gets a rejection note and new results."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import FileDataset, dcmread

from neurotriage.demo.pacs import StandInPacs
from neurotriage.demo.studies import head_ct
from tests.scenarios.conftest import destination, opened

pytestmark = pytest.mark.scenario


def _received(pacs: StandInPacs) -> list[FileDataset]:
    return [dcmread(path) for path in pacs.received().values()]


def _is_note(dataset: FileDataset) -> bool:
    return bool(dataset.SeriesNumber == 9919)


# A sender on a busy machine pauses for seconds within a study.
QUIET_S = 10


def test_a_study_that_was_sent_under_a_wrong_patient_is_put_right_in_the_archive(tmp_path: Path) -> None:
    with (
        StandInPacs(tmp_path / "pacs", ae_title="PACS") as pacs,
        StandInPacs(tmp_path / "archive", ae_title="ARCHIVE") as archive,
    ):
        wants_notes = destination("archive", archive.port, rejection_notes=True)
        with opened(tmp_path, pacs, wants_notes, quiet_s=QUIET_S) as site:
            wrong = head_ct()
            site.send(wrong)
            site.wait_for_end(wrong)
            old = _received(archive)
            assert old
            assert not any(map(_is_note, old))
            right = replace(wrong, datasets=tuple(map(deepcopy, wrong.datasets)))
            for dataset in right.datasets:
                dataset.PatientID, dataset.PatientName = "RIGHT", "Right^Patient"
            site.send(right)
            site.wait("the note", lambda: any(map(_is_note, _received(archive))))
            row = site.wait_for_end(right)
            assert row["patient_id"] == "RIGHT"
            assert site.scalar("select count(*) from revisions where state = 'analysed'") == 1
            came = _received(archive)[len(old) :]
            (note,) = filter(_is_note, came)
            assert note.PatientID == old[0].PatientID != "RIGHT"
            (evidence,) = note.CurrentRequestedProcedureEvidenceSequence
            named = {
                str(item.ReferencedSOPInstanceUID)
                for series in evidence.ReferencedSeriesSequence
                for item in series.ReferencedSOPSequence
            }
            assert named == {str(d.SOPInstanceUID) for d in old}
            new = [d for d in came if not _is_note(d)]
            assert new
            assert all(d.PatientID == "RIGHT" and d.PatientName == "Right^Patient" for d in new)
            assert not any(map(_is_note, _received(pacs)))


def test_patients_that_are_merged_by_a_message_are_merged_in_the_archive(tmp_path: Path) -> None:
    folder = tmp_path / "hl7"
    folder.mkdir()
    with StandInPacs(tmp_path / "pacs", ae_title="PACS") as pacs:
        wants_notes = destination("archive", pacs.port, ae_title="PACS", rejection_notes=True)
        with opened(tmp_path, pacs, wants_notes, quiet_s=QUIET_S, hl7_folder=folder) as site:
            study = head_ct()
            site.send(study)
            site.wait_for_end(study)
            old = _received(pacs)
            prior = str(old[0].PatientID)
            text = (
                "MSH|^~\\&|ADT|CLINIC|NEUROTRIAGE|CLINIC|20260102030405||ADT^A40^ADT_A39|M1|P|2.5\r"
                f"EVN||20260102030405\rPID|||RIGHT||Right^Patient||19500102|F\rMRG|{prior}\r"
            )
            (folder / "merge.part").write_text(text, newline="")
            (folder / "merge.part").rename(folder / "merge.hl7")
            site.wait("the note", lambda: any(map(_is_note, _received(pacs))))
            row = site.wait_for_end(study)
            assert row["patient_id"] == "RIGHT"
            assert site.scalar("select count(*) from revisions where state = 'analysed'") == 1
            new = [d for d in _received(pacs)[len(old) :] if not _is_note(d)]
            assert new
            assert {(d.PatientID, str(d.PatientName), d.PatientBirthDate, d.PatientSex) for d in new} == {
                ("RIGHT", "Right^Patient", "19500102", "F")
            }
            assert len(list((folder / "done").iterdir())) == 1
