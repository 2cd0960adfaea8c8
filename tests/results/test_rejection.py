"""A rejection note names every object that it takes back, and validates."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from pydicom import dcmread

from neurotriage.core.values import NoteKind, ObjectReference, Outcome
from neurotriage.dicom.headers import is_own_result
from neurotriage.phantom import INSTALLATION, make_analysis, make_study
from worker.results import rejection_note
from worker.results.sources.slices import identity_header

SC, SR = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.88.34"
WITHDRAWN = (
    ObjectReference(SC, "2.25.1", "2.25.10"),
    ObjectReference(SC, "2.25.2", "2.25.10"),
    ObjectReference(SR, "2.25.3", "2.25.11"),
)


def test_a_note_names_every_withdrawn_object_and_is_ours(tmp_path: Path) -> None:
    made = make_study(tmp_path, slices=3, shape=(32, 32))
    analysis, _ = make_analysis(made, Outcome.ABSENT)
    note = rejection_note(analysis, identity_header(made.manifest, []), INSTALLATION, WITHDRAWN)
    again = rejection_note(analysis, identity_header(made.manifest, []), INSTALLATION, WITHDRAWN)
    assert note is not None
    assert again == note
    assert note.kind is NoteKind.REJECTION
    dataset = dcmread(BytesIO(note.data))
    assert is_own_result(dataset)
    assert dataset.Modality == "KO"
    (title,) = dataset.ConceptNameCodeSequence
    assert (title.CodeValue, title.CodingSchemeDesignator) == ("113001", "DCM")
    (study,) = dataset.CurrentRequestedProcedureEvidenceSequence
    named = [
        (item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID, series.SeriesInstanceUID)
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    ]
    assert [ObjectReference(*map(str, item)) for item in named] == list(WITHDRAWN)
    kinds = [item.ValueType for item in dataset.ContentSequence if "ReferencedSOPSequence" in item]
    assert kinds == ["IMAGE", "IMAGE", "COMPOSITE"]


def test_another_note_has_another_uid(tmp_path: Path) -> None:
    made = make_study(tmp_path, slices=3, shape=(32, 32))
    analysis, _ = make_analysis(made, Outcome.ABSENT)
    first = rejection_note(analysis, identity_header(made.manifest, []), INSTALLATION, WITHDRAWN)
    second = rejection_note(analysis, identity_header(made.manifest, []), INSTALLATION, WITHDRAWN[:2])
    assert first is not None
    assert second is not None
    assert first.sop_instance_uid != second.sop_instance_uid
    assert rejection_note(analysis, identity_header(made.manifest, []), INSTALLATION, ()) is None


def test_a_note_validates(tmp_path: Path, errors_of: Callable[[bytes], list[str]]) -> None:
    made = make_study(tmp_path, slices=3, shape=(32, 32))
    analysis, _ = make_analysis(made, Outcome.ABSENT)
    note = rejection_note(analysis, identity_header(made.manifest, []), INSTALLATION, WITHDRAWN)
    assert note is not None
    assert errors_of(note.data) == []
