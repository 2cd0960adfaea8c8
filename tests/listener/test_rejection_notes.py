"""A rejection note that another maker sends comes through the way in like an image, and is obeyed."""

from collections.abc import Callable

import pytest
from pydicom.dataset import Dataset
from sqlalchemy import Engine

from dicom_listener.ingest.ingest import Ingest
from dicom_listener.spool import Spool
from neurotriage.core.errors import Refused
from neurotriage.core.rejection import RejectionTitle
from neurotriage.dicom.rejections import KEY_OBJECT_SELECTION, MAX_REJECTED, MAX_STUDIES, read_rejection
from tests.listener.conftest import assemble, instance, rows, spooled


def note(*uids: str, title: str = "113037", scheme: str = "DCM", study: str = "1.2.3") -> Dataset:
    """A Key Object Selection with this title (PS3.3 C.17.6.2)."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = KEY_OBJECT_SELECTION, f"{study}.77.1"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, f"{study}.77"
    dataset.Modality, dataset.PatientID, dataset.PatientName = "KO", "P1", "Canary^Name"
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = title, scheme, "Rejected"
    dataset.ConceptNameCodeSequence = [code]
    named = []
    for uid in uids:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", uid
        named.append(item)
    series, evidence = Dataset(), Dataset()
    series.SeriesInstanceUID, series.ReferencedSOPSequence = f"{study}.1", named
    evidence.StudyInstanceUID, evidence.ReferencedSeriesSequence = study, [series]
    dataset.CurrentRequestedProcedureEvidenceSequence = [evidence]
    return dataset


@pytest.fixture
def take_in(ingest: Ingest) -> Callable[[], object]:
    return ingest.drain


def test_a_study_without_its_rejected_images_ends_with_a_revision_of_none(
    take_in: Callable[[], object], engine: Engine, spool: Spool
) -> None:
    spooled(spool, instance(number=1))
    take_in()
    assert len(assemble(engine, 1e-6)) == 1
    spooled(spool, note("1.2.3.1.1"))
    take_in()
    assert rows(engine, "select state from revisions") == [("withdrawn",)]
    assert rows(engine, "select counts, removed from instances order by id") == [
        *((False, "rejected"), (False, "note")),
    ]
    assert len(assemble(engine, 1e-6)) == 1
    assert rows(engine, "select state from studies") == [("quiet",)]
    assert rows(engine, "select count(*) from revision_instances where revision_id = 2") == [(0,)]


def test_a_note_of_age_alone_opens_nothing(
    take_in: Callable[[], object], engine: Engine, spool: Spool
) -> None:
    spooled(spool, instance(number=1))
    take_in()
    assemble(engine, 1e-6)
    spooled(spool, note("1.2.3.1.1", title="113039"))
    take_in()
    assert rows(engine, "select state from studies") == [("quiet",)]
    assert rows(engine, "select state from revisions") == [("ready",)]


def test_a_note_that_names_too_many_is_set_aside(
    take_in: Callable[[], object], engine: Engine, spool: Spool
) -> None:
    spooled(spool, note(*(f"1.2.3.1.{number}" for number in range(MAX_REJECTED + 1))))
    take_in()
    assert rows(engine, "select code, reason from quarantined") == [
        ("not_recorded", f"a rejection note that names more than {MAX_REJECTED} instances")
    ]


@pytest.mark.unit
def test_only_the_titles_of_rejection_notes_are_notes() -> None:
    read = read_rejection(note("1.2.3.1.1", title="113001"))
    assert read is not None
    assert (read.title, read.instances) == (RejectionTitle.QUALITY, (("1.2.3", "1.2.3.1.1"),))
    assert read_rejection(note("1.2.3.1.1", title="113000")) is None  # of interest
    assert read_rejection(note("1.2.3.1.1", scheme="99OTHER")) is None
    assert read_rejection(instance()) is None
    largest = read_rejection(note(*(f"1.2.3.1.{number}" for number in range(MAX_REJECTED))))
    assert largest is not None
    with pytest.raises(Refused, match="more than"):
        read_rejection(note(*(f"1.2.3.1.{number}" for number in range(MAX_REJECTED + 1))))


@pytest.mark.unit
def test_a_note_of_very_many_studies_is_for_a_person() -> None:
    of_many = note("1.2.3.1.1")
    of_many.CurrentRequestedProcedureEvidenceSequence = [
        note("1.2.3.1.1", study=f"1.2.{number}").CurrentRequestedProcedureEvidenceSequence[0]
        for number in range(MAX_STUDIES + 1)
    ]
    with pytest.raises(Refused, match="studies"):
        read_rejection(of_many)
    del of_many.CurrentRequestedProcedureEvidenceSequence[0]
    assert read_rejection(of_many) is not None
