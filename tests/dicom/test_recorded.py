"""What is recorded of a file is the same by the shortest way of reading it and by pydicom alone."""

import os
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from pydicom.charset import convert_encodings, python_encoding
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, MRImageStorage

from dicom_listener.spool.file_meta import AssociationInfo, file_meta
from neurotriage.core.errors import Refused
from neurotriage.core.values import Reason
from neurotriage.dicom import recorded
from neurotriage.dicom.attributes import numbers
from neurotriage.dicom.data_set import data_set_offset, digest_of_file
from neurotriage.dicom.headers import InstanceHeader, describe, read_header, text
from neurotriage.dicom.placement import placement_of
from neurotriage.dicom.recorded import read_recorded
from neurotriage.dicom.rejections import read_rejection
from tests.conftest import ROOT, absent
from tests.core.made import instance, part10, write
from tests.imaging.reference import public_files

pytestmark = pytest.mark.unit

CASES = Path(os.environ.get("NEUROTRIAGE_TEST_CASES", ROOT / ".." / "shared" / "cases")).resolve()
# Value representations that explicit encoding can state for any element, right or wrong.
VRS = ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "OB", "PN", "SH", "SQ", "ST", "TM", "UC", "UI",
       "UL", "UN", "UR", "US", "UT")  # fmt: skip
NAMES = ("PatientName", "PatientID", "StudyInstanceUID", "Modality", "StudyDate", "SeriesNumber", "Rows",
         "ImagePositionPatient", "StudyPriorityID", "Manufacturer")  # fmt: skip


@contextmanager
def _pydicom_alone() -> Iterator[None]:
    """Without any value or data set that is read by fewer steps."""
    with ExitStack() as stack:
        for place in ("headers.plain_text", "headers.plain_integer", "attributes.plain_numbers"):
            stack.enter_context(patch(f"neurotriage.dicom.{place}", lambda dataset, tag: None))
        yield


def _by_pydicom(path: Path) -> InstanceHeader:
    with _pydicom_alone():
        dataset = read_header(path)
        known = describe(dataset, path, digest_of_file(path))
        return replace(known, placement=placement_of(dataset), rejection=read_rejection(dataset))


def _outcome(read: object, path: Path) -> InstanceHeader | Reason:
    assert callable(read)
    try:
        result: InstanceHeader = read(path)
    except Refused as refused:
        return refused.reason
    return result


def _assert_same(path: Path) -> None:
    assert _outcome(read_recorded, path) == _outcome(_by_pydicom, path), path.name


def _values(path: Path) -> dict[str, tuple[object, ...]]:
    """Every known attribute at the top level as text and as numbers."""
    try:
        tags = sorted(read_header(path).keys())
    except Refused:
        return {}
    found = {}
    # Each read from a data set of its own: what was converted once is plain no more.
    as_text, as_numbers = read_header(path), read_header(path)
    for name in filter(None, map(keyword_for_tag, tags)):
        found[name] = text(as_text, name), repr(numbers(as_numbers, name))
    return found


@pytest.mark.parametrize("path", [pytest.param(path, id=name) for name, path in public_files()])
def test_a_reference_file_is_recorded_as_pydicom_reads_it(path: Path) -> None:
    _assert_same(path)
    with _pydicom_alone():
        by_pydicom = _values(path)
    assert _values(path) == by_pydicom


def test_real_images_are_recorded_as_pydicom_reads_them(data_dir: Path) -> None:
    paths = [path for path in sorted((data_dir / "dicom").rglob("*")) if path.is_file()]
    quick = [path for path in paths if recorded._data_set(path) is not None]
    assert len(quick) > len(paths) / 2
    for path in paths:
        _assert_same(path)


def test_odd_images_are_recorded_as_pydicom_reads_them(tmp_path: Path) -> None:
    archives = sorted(CASES.glob("*.zip"))
    if not archives:
        absent("cases", f"no cases at {CASES}; set NEUROTRIAGE_TEST_CASES")
    for archive in archives:
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(tmp_path / archive.stem)
        for path in (tmp_path / archive.stem).rglob("*"):
            if path.is_file():
                _assert_same(path)


def test_what_the_file_meta_alone_names_is_recorded(tmp_path: Path) -> None:
    data = part10(instance(SOPInstanceUID="2.25.3.77")).replace(
        b"\x08\x00\x18\x00UI\x0a\x002.25.3.77\0", b"\x08\x00\x18\x00UI\x0a\x00" + b"x" * 10
    )
    path = write(tmp_path / "file.dcm", data)
    assert read_recorded(path).sop_instance_uid == "2.25.3.77"
    _assert_same(path)


@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_what_is_not_encoded_as_its_file_meta_says_is_recorded_as_analysis_reads_it(
    tmp_path: Path, syntax: UID
) -> None:
    parties = AssociationInfo("SENDER", "NEUROTRIAGE", "127.0.0.1")
    data_set = part10(instance())
    meta = file_meta(parties, MRImageStorage, "2.25.3.1", syntax)
    path = write(tmp_path / "file.dcm", meta + data_set[data_set_offset(data_set) :])
    assert isinstance(_outcome(read_recorded, path), Reason)
    _assert_same(path)


_PADDED = st.binary(max_size=80).map(lambda value: value + b" " * (len(value) % 2))
_PLAIN = st.text(st.sampled_from("0123456789.,+-eE \\^=~\0\x1b\tAÄ"), max_size=60).map(
    lambda value: value.encode("latin-1")
)
_NUMBERS = st.lists(
    st.from_regex(rb"\A ?[+-]?[0-9]{0,18}\.?[0-9]{0,4}([eE][+-]?[0-9]{1,3})? ?\0?\Z"), min_size=1, max_size=8
).map(b"\\".join)


def _read_back(name: str, vr: str | None, value: bytes, charset: str, little: bool) -> tuple[object, ...]:
    found: list[object] = []
    for read in (text, numbers, _number):
        tag = BaseTag(Tag(name))
        raw = RawDataElement(tag, vr, len(value), value or None, 0, vr is None, little)
        dataset = Dataset({tag: raw})
        dataset.set_original_encoding(vr is None, little, convert_encodings(charset))
        found.append(repr(read(dataset, name)))
    return tuple(found)


def _number(dataset: Dataset, name: str) -> int | None:
    return describe(dataset, Path("file"), "").series_number if name == "SeriesNumber" else None


# pydicom 3.0 raises IndexError for a name of these with an empty component.
_LOSES_NAMES = ("ISO 2022 IR 87", "ISO 2022 IR 159")


@pytest.mark.parametrize("charset", _LOSES_NAMES)
def test_a_name_that_ends_in_carets_is_read_in_every_character_set(charset: str) -> None:
    assert _read_back("PatientName", "PN", b"DOE^JOHN^^", charset, little=True)[0] == "'DOE^JOHN^^'"


@settings(max_examples=400, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    vr=st.sampled_from((None, *VRS)),
    value=_PADDED | _PLAIN | _NUMBERS,
    charset=st.sampled_from(("", *python_encoding)),
    little=st.booleans(),
)
@example(name="PatientName", vr="PN", value=b"A^B=", charset="", little=True)
@example(name="Manufacturer", vr="LO", value=b"a\\b ", charset="ISO_IR 100", little=True)
@example(name="PatientID", vr="LO", value=b" a\0\0", charset="ISO_IR 13", little=True)
@example(name="SeriesNumber", vr="IS", value=b" +007 ", charset="", little=True)
@example(name="SeriesNumber", vr="IS", value=b"3.5", charset="", little=True)
@example(name="SeriesNumber", vr="DS", value=b"1_0", charset="", little=True)
@example(name="ImagePositionPatient", vr="DS", value=b"1\\\\2 ", charset="", little=True)
@example(name="SeriesNumber", vr="IS", value=b"-0", charset="", little=True)
@example(name="Rows", vr="US", value=b"\1\2", charset="", little=False)
def test_a_value_is_read_as_pydicom_converts_it(
    name: str, vr: str | None, value: bytes, charset: str, little: bool
) -> None:
    assume(not (charset in _LOSES_NAMES and b"^" in value))
    with _pydicom_alone():
        by_pydicom = _read_back(name, vr, value, charset, little)
    assert _read_back(name, vr, value, charset, little) == by_pydicom


@settings(max_examples=100, deadline=None)
@given(at=st.integers(0, 300), change=st.binary(min_size=1, max_size=4), cut=st.integers(0, 40))
def test_a_damaged_data_set_is_recorded_as_pydicom_reads_it(
    tmp_path_factory: pytest.TempPathFactory, at: int, change: bytes, cut: int
) -> None:
    whole = part10(instance(ImagePositionPatient=[1, 2, 3], ImageOrientationPatient=[1, 0, 0, 0, 1, 0]))
    at += data_set_offset(whole)
    damaged = (whole[:at] + change + whole[at + len(change) :])[: len(whole) - cut]
    _assert_same(write(tmp_path_factory.getbasetemp() / "damaged.dcm", damaged))


def test_all_printable_ascii_is_the_same_in_every_character_set() -> None:
    plain = bytes(byte for byte in range(0x20, 0x7F) if byte not in b"\\=")
    for name, encoding in python_encoding.items():
        assert plain.decode(encoding) == plain.decode("ascii"), name
