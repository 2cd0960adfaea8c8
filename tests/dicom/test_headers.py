"""What is read from a header: everything readable, nothing invented, and never an unforeseen error."""

from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset

from neurotriage.core.errors import Refused
from neurotriage.core.values import ReasonCode
from neurotriage.dicom.data_set import digest_of_file
from neurotriage.dicom.headers import (
    InstanceHeader,
    is_own_result,
    read_header,
    read_instance,
)
from tests.core.made import SERIES, STUDY, bare, instance, part10, write

pytestmark = pytest.mark.unit

NESTED_DEEPER_THAN_ANY_STACK = 20_000


@cache
def _whole_file() -> bytes:
    return part10(instance())


def _read(tmp_path: Path, data: bytes) -> InstanceHeader:
    return read_instance(write(tmp_path / "file.dcm", data))


def _refusal(tmp_path: Path, data: bytes) -> str:
    with pytest.raises(Refused) as refused:
        _read(tmp_path, data)
    assert refused.value.reason.code is ReasonCode.NOT_DICOM
    return refused.value.reason.text


def test_what_is_no_dicom_is_told_in_words_of_ours(tmp_path: Path) -> None:
    assert _refusal(tmp_path, b"hello, I am a text file\n" * 40) == "not a DICOM file"


def test_a_chinese_name_of_iso_2022_is_read_without_its_escape_sequences(tmp_path: Path) -> None:
    """PS3.5 annex K.2."""
    stored = b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab="
    dataset = instance(SpecificCharacterSet=["", "ISO 2022 IR 58"], PatientName="?" * len(stored))
    data = part10(dataset).replace(b"?" * len(stored), stored)
    header = read_header(write(tmp_path / "file.dcm", data))
    assert str(header.PatientName) == "Zhang^XiaoDong=张^小东"


def test_the_facts_of_an_instance_are_read(tmp_path: Path) -> None:
    dataset = instance(
        7,
        AccessionNumber=" A1 ",
        StudyDate="20260102",
        StudyDescription="MR head",
        SeriesDescription="T1",
        SeriesNumber=3,
        BodyPartExamined="HEAD",
        IssuerOfPatientID="H",
    )
    header = _read(tmp_path, part10(dataset))
    assert (header.study_instance_uid, header.series_instance_uid) == (STUDY, SERIES)
    assert (header.sop_instance_uid, header.modality, header.body_part) == ("2.25.3.7", "MR", "HEAD")
    assert (header.accession_number, header.study_date, header.study_description) == (
        "A1",
        "20260102",
        "MR head",
    )
    assert (header.series_description, header.series_number, header.instance_number) == ("T1", 3, 7)
    assert (header.patient_id, header.issuer_of_patient_id, header.claims_ours) == ("P1", "H", False)


def test_a_data_set_without_preamble_and_file_meta_is_read(tmp_path: Path) -> None:
    header = _read(tmp_path, bare(instance()))
    assert (header.study_instance_uid, header.sop_instance_uid) == (STUDY, "2.25.3.1")


def test_what_an_instance_does_not_say_is_empty(tmp_path: Path) -> None:
    header = _read(tmp_path, part10(instance(Modality=None, PatientID=None, InstanceNumber=None)))
    assert (header.modality, header.patient_id, header.instance_number) == ("", "", None)
    assert (header.accession_number, header.series_number) == ("", None)


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"just some text, no DICOM at all\n" * 40, bytes(4096), b"\x08\x00" * 100],
    ids=["empty", "one byte", "text", "zeros", "looks like a tag"],
)
def test_a_file_that_is_no_dicom_is_refused_with_a_sentence(tmp_path: Path, data: bytes) -> None:
    assert _refusal(tmp_path, data)


def test_a_part_10_file_without_any_attribute_is_refused(tmp_path: Path) -> None:
    dataset = Dataset()
    dataset.PatientID = "P1"
    assert _refusal(tmp_path, part10(dataset)) == "no DICOM attributes found"


def test_sequences_nested_too_deep_are_refused(tmp_path: Path) -> None:
    level = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    data = part10(instance(PixelData=None)) + level * NESTED_DEEPER_THAN_ANY_STACK
    assert "nested too deep" in _refusal(tmp_path, data)


def test_a_file_cut_short_in_its_pixels_keeps_its_header(tmp_path: Path) -> None:
    assert _read(tmp_path, _whole_file()[:-5]).study_instance_uid == STUDY


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_file_cut_short_or_damaged_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = bytearray(_whole_file())
    for _ in range(data.draw(st.integers(0, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    path = write(tmp_path_factory.getbasetemp() / "damaged.dcm", cut)
    try:
        header = read_instance(path)
    except Refused:
        return
    assert "\0" not in str(header)


@pytest.mark.parametrize(
    "name",
    ["N" * 60, "山田^太郎", "Yamada^Tarou=山田^太郎=やまだ^たろう", "Müller^Jörg", "Иванов^Пётр", ""],
)
def test_long_and_foreign_names_neither_fail_nor_become_columns(tmp_path: Path, name: str) -> None:
    dataset = instance(SpecificCharacterSet="ISO_IR 192", PatientName=name, StudyDescription="頭部MRI")
    header = _read(tmp_path, part10(dataset))
    assert header.study_description == "頭部MRI"
    assert not name or name not in str(header)


def test_kanji_in_the_japanese_encoding_are_read(tmp_path: Path) -> None:
    dataset = instance(SpecificCharacterSet=["", "ISO 2022 IR 87"], StudyDescription="頭部")
    assert _read(tmp_path, part10(dataset)).study_description == "頭部"


def test_text_that_its_character_set_cannot_hold_still_fits_a_database(tmp_path: Path) -> None:
    data = part10(instance(SpecificCharacterSet="ISO_IR 192", StudyDescription="ABCD"))
    header = _read(tmp_path, data.replace(b"ABCD", b"A\xff\xfeD"))
    header.study_description.encode()


@pytest.mark.filterwarnings("ignore:The value length")
def test_nul_and_endless_text_do_not_reach_the_tables(tmp_path: Path) -> None:
    data = part10(instance(AccessionNumber="AxBx", StudyDescription="D" * 10_000, PatientID="P1\n\t"))
    header = _read(tmp_path, data.replace(b"AxBx", b"A\0B\0"))
    assert header.accession_number == "AB"
    assert len(header.study_description) <= 256
    assert header.patient_id == "P1"


@pytest.mark.parametrize("uid", [b"../../etc/passwd", b"1.2.x.4 and more", b"'; drop table --"])
def test_a_uid_that_is_none_is_empty(tmp_path: Path, uid: bytes) -> None:
    data = part10(instance(StudyInstanceUID="1.2.3.4.5.6.7.89"))
    assert _read(tmp_path, data.replace(b"1.2.3.4.5.6.7.89", uid)).study_instance_uid == ""


@pytest.mark.filterwarnings("ignore:The value length")
@pytest.mark.parametrize(
    "number", [b"one ", b"1\\2 ", b"9" * 24, b"1e999 "], ids=["word", "two", "huge", "endless"]
)
def test_a_number_that_is_none_is_none(tmp_path: Path, number: bytes) -> None:
    """Also one beyond what a bigint column holds."""
    place = "7" * len(number)
    dataset = instance(InstanceNumber=None, AccessionNumber=place)
    data = part10(dataset).replace(b"\x08\x00\x50\x00SH", b"\x20\x00\x13\x00IS")
    header = _read(tmp_path, data.replace(place.encode(), number))
    assert header.instance_number is None
    assert header.study_instance_uid == STUDY


def _item(**attributes: str) -> Dataset:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


@pytest.mark.parametrize(
    ("attributes", "ours"),
    [
        ({"Manufacturer": "neurotriage"}, True),
        (
            {"ContributingEquipmentSequence": [_item(Manufacturer="X"), _item(Manufacturer="neurotriage")]},
            True,
        ),
        ({"Manufacturer": "neurotriage demo"}, False),
        ({"ContributingEquipmentSequence": [_item(Manufacturer="X")]}, False),
        ({"ContributingEquipmentSequence": []}, False),
        ({"SeriesDescription": "neurotriage"}, False),
    ],
)
def test_what_names_us_as_its_maker_looks_like_a_result_only_where_we_make_such_objects(
    tmp_path: Path, attributes: dict[str, Any], ours: bool
) -> None:
    header = _read(tmp_path, part10(instance(**attributes)))
    assert (header.claims_ours, header.looks_like_a_result) == (ours, False)
    assert not is_own_result(instance(**attributes))
    capture = instance(**attributes, SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    assert _read(tmp_path, part10(capture)).looks_like_a_result is ours
    assert is_own_result(capture) is ours


def test_the_digest_names_the_data_set_and_not_the_file_meta(tmp_path: Path) -> None:
    files = [
        write(tmp_path / name, part10(instance(), ae_title=title))
        for name, title in (("a", ""), ("b", "SCANNER"), ("c", "A_LONG_AE_TITLE"))
    ]
    assert len({path.stat().st_size for path in files}) > 1
    assert len({digest_of_file(path) for path in files}) == 1
    data = files[0].read_bytes()
    start = data.index(b"\x08\x00\x16\x00UI")  # SOPClassUID, the first element of the data set
    assert digest_of_file(files[0]) == sha256(data[start:]).hexdigest()
    assert digest_of_file(write(tmp_path / "d", data[:-1] + b"\1")) != digest_of_file(files[0])


def test_a_data_set_without_file_meta_is_digested_whole(tmp_path: Path) -> None:
    data = bare(instance())
    assert digest_of_file(write(tmp_path / "bare", data)) == sha256(data).hexdigest()
