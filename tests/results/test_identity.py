"""Whatever a source says of patient and study, what is written is legal and can be written."""

from io import BytesIO
from typing import Any

import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from worker.results.identity import copy_identity

pytestmark = pytest.mark.unit

TRIAL = {
    "ClinicalTrialSponsorName": "Sponsor",
    "ClinicalTrialProtocolID": "P-1",
    "ClinicalTrialSubjectID": "S-1",
    "ClinicalTrialTimePointID": "",
}


def header_of(**values: Any) -> Dataset:
    header = Dataset()
    for keyword, value in values.items():
        setattr(header, keyword, value)
    return header


def written(header: Dataset) -> Dataset:
    """What an archive reads of an object with the identity of ``header``."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    copy_identity(header, dataset)
    file = BytesIO()
    dcmwrite(file, dataset, little_endian=True, implicit_vr=False)
    file.seek(0)
    return dcmread(file, force=True)


@pytest.mark.parametrize(
    ("keyword", "vr", "stored", "expected"),
    [
        ("AccessionNumber", "US", b"\5\0", "5"),
        ("StudyID", "US", b"\5\0", "5"),
        ("PatientName", "US", b"\5\0", "5"),
        ("PatientID", "US", b"\5\0", "5"),
        ("PatientID", "US", b"\5\0\6\0", ["5", "6"]),
        ("PatientID", "LO", b"A\\B ", ["A", "B"]),
        ("StudyDate", "US", b"\5\0", ""),
        ("PatientAge", "US", b"\5\0", None),
        ("PregnancyStatus", "US", b"\4\0", 4),
        ("PregnancyStatus", "US", b"\5\0", None),
        ("PregnancyStatus", "US", b"\4\0\4\0", None),
        ("PregnancyStatus", "SH", b"4 ", None),
        ("PregnancyStatus", "DS", b"4 ", 4),
        ("AccessionNumber", "SQ", b"", ""),
        ("AccessionNumber", "OB", b"A1", ""),
        ("AccessionNumber", "UL", b"A12345", ""),
        ("ReferencedStudySequence", "LO", b"A1", None),
    ],
)
def test_a_wrong_vr_in_the_source_costs_no_more_than_its_attribute(
    keyword: str, vr: str, stored: bytes, expected: Any
) -> None:
    header = header_of(StudyDescription="MR head")
    tag = Tag(keyword)
    header[tag] = RawDataElement(tag, vr, len(stored), stored, 0, False, True)
    dataset = written(header)
    assert dataset.StudyDescription == "MR head"
    assert dataset.get(keyword) == expected


@pytest.mark.parametrize(
    ("keyword", "most_characters"),
    [("PatientComments", 10240), ("ClinicalTrialTimePointDescription", 1024), ("ReasonForVisit", 20000)],
)
def test_lines_stay_apart_and_text_is_cut_as_its_vr_wants(keyword: str, most_characters: int) -> None:
    text = "one\r\ntwo" + "." * (20000 - 8)
    dataset = written(header_of(**TRIAL, **{keyword: text}))
    assert dataset[keyword].value == text[:most_characters]


def test_a_trial_is_told_as_the_source_tells_it() -> None:
    dataset = written(header_of(**TRIAL))
    assert {keyword: dataset[keyword].value for keyword in TRIAL} == TRIAL
    assert "ClinicalTrialSiteID" not in dataset


@pytest.mark.parametrize("keyword", ["ClinicalTrialSponsorName", "ClinicalTrialProtocolID"])
@pytest.mark.parametrize("value", ["", "\t", None])
def test_nothing_is_told_of_a_trial_without_sponsor_or_protocol(keyword: str, value: str | None) -> None:
    header = header_of(**{**TRIAL, keyword: value})
    if value is None:
        del header[keyword]
    assert not any(element.keyword.startswith("ClinicalTrial") for element in written(header))
