"""Whatever a source says of patient and study, what is written is legal and can be written."""

import warnings
from io import BytesIO
from typing import Any

import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.datadict import dictionary_VR
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


def as_stored(keyword: str, value: Any) -> Dataset:
    """A header with a value as it lies in a file, which may break the rules of its VR."""
    tag = Tag(keyword)
    data = "\\".join([value] if isinstance(value, str) else value).encode()
    header = Dataset()
    header[tag] = RawDataElement(tag, dictionary_VR(tag), len(data), data, 0, False, True)
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


@pytest.mark.parametrize(
    ("keyword", "stated", "expected"),
    [
        ("StudyDate", "2026.11.28", "20261128"),
        ("StudyDate", "2026-11-28", "20261128"),
        ("StudyDate", "2026/11/28", "20261128"),
        ("StudyDate", "20261128101530", "20261128"),
        ("StudyDate", "2026-11-28T10:15:30", "20261128"),
        ("StudyDate", "20260231", ""),
        ("StudyDate", "28.11.2026", ""),
        ("StudyDate", "11/28/2026", ""),
        ("PatientBirthDate", "1960.02.29", "19600229"),
        ("PatientBirthDate", "1961.02.29", ""),
        ("LastMenstrualDate", "2026.11.01", "20261101"),
        ("StudyTime", "10:15:30", "101530"),
        ("StudyTime", "10:15:30.25", "101530.25"),
        ("StudyTime", "10:15", "1015"),
        ("StudyTime", "9:15", "0915"),
        ("StudyTime", "101530.123456789", "101530.123456"),
        ("StudyTime", "101530.", "101530"),
        ("StudyTime", "101560", "101560"),
        ("StudyTime", "25:00", ""),
        ("StudyTime", "10:61", ""),
        ("StudyTime", "noon", ""),
        ("PatientBirthTime", "01:02", "0102"),
        ("PatientAge", "65Y", "065Y"),
        ("PatientAge", "7m", "007M"),
        ("PatientAge", "old", None),
        ("PatientSex", "female", "F"),
        ("PatientSex", "m", "M"),
        ("PatientSex", "X", ""),
    ],
)
def test_a_value_in_another_form_gets_that_of_its_vr(keyword: str, stated: str, expected: Any) -> None:
    assert written(as_stored(keyword, stated)).get(keyword) == expected


@pytest.mark.parametrize(
    ("stated", "expected"), [("1,75", 1.75), ("1.7500000000000000001", 1.75), ("tall", None)]
)
def test_a_decimal_in_another_form_is_the_same_number(stated: str, expected: Any) -> None:
    assert written(as_stored("PatientSize", stated)).get("PatientSize") == expected


@pytest.mark.parametrize(
    ("keyword", "stated"),
    [
        ("PatientID", "P" * 80),
        ("AccessionNumber", "A" * 17),
        ("AccessionNumber", "2026-11-28/RAD-CT/000123456"),
        ("StudyID", "S" * 40),
        ("PatientName", "Long" * 30 + "^Name"),
        ("PatientName", "Doe^Jane^^"),
        ("IssuerOfPatientID", "I" * 70),
        ("AdmissionID", "V" * 65),
        ("OtherPatientIDs", ["B" * 70, "C"]),
    ],
)
def test_what_an_archive_files_by_is_copied_whole(keyword: str, stated: Any) -> None:
    assert written(as_stored(keyword, stated)).get(keyword) == stated


def test_no_value_of_a_header_is_told_in_a_warning() -> None:
    header = as_stored("StudyDate", "CANARY")
    header.update(as_stored("AccessionNumber", "CANARY" * 9))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        copy_identity(header, Dataset())
