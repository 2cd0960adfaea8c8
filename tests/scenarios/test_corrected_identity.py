"""A study turns out to be another patient's: its archive gets a rejection note and new results."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

from pydicom import FileDataset, dcmread

from neurotriage.demo.pacs import StandInPacs
from neurotriage.demo.studies import head_ct
from tests.scenarios.conftest import destination, opened


def _received(pacs: StandInPacs) -> list[FileDataset]:
    return [dcmread(path) for path in pacs.received().values()]


def _is_note(dataset: FileDataset) -> bool:
    return bool(dataset.SeriesNumber == 9919)


def test_a_study_that_was_sent_under_a_wrong_patient_is_put_right_in_the_archive(tmp_path: Path) -> None:
    with (
        StandInPacs(tmp_path / "pacs", ae_title="PACS") as pacs,
        StandInPacs(tmp_path / "archive", ae_title="ARCHIVE") as archive,
    ):
        wants_notes = destination("archive", archive.port, rejection_notes=True)
        with opened(tmp_path, pacs, wants_notes, released_quiet_s=2) as site:
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
            assert (row["patient_id"], row["revision"]) == ("RIGHT", 2)
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
