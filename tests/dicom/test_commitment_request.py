"""A request for storage commitment is read as pydicom wrote it, and no bytes cost more than their length."""

import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from neurotriage.dicom.commitment_request import (
    INVALID_ARGUMENT,
    MAX_REFERENCES,
    MAX_REQUEST_BYTES,
    RESOURCE_LIMITATION,
    CommitmentRequest,
    RequestRefused,
    read_request,
)

pytestmark = pytest.mark.unit

MR = "1.2.840.10008.5.1.4.1.1.4"
_UIDS = st.from_regex(r"[1-9][0-9]{0,4}(\.[1-9][0-9]{0,9}){1,5}", fullmatch=True)
_REFERENCES = st.lists(st.tuples(_UIDS, _UIDS), min_size=1, max_size=20)


def asked(transaction: str, *references: tuple[str, str], undefined: bool = False) -> Dataset:
    """As a SCU may send it: with attributes beside those that are read."""
    request = Dataset()
    request.TransactionUID = transaction
    request.StorageMediaFileSetID = "DISK1"
    items = []
    for sop_class, instance in references:
        item = Dataset()
        item.ReferencedSOPClassUID = sop_class
        item.ReferencedSOPInstanceUID = instance
        item.PurposeOfReferenceCodeSequence = Sequence([Dataset()])
        items.append(item)
    request.ReferencedSOPSequence = Sequence(items)
    request.ReferencedPerformedProcedureStepSequence = Sequence([asked_item(undefined)])
    for item in (*request.ReferencedSOPSequence, *request.ReferencedPerformedProcedureStepSequence):
        item.is_undefined_length_sequence_item = undefined
        for element in item:
            element.is_undefined_length = undefined and element.VR == "SQ"
    for element in request:
        element.is_undefined_length = undefined and element.VR == "SQ"
    return request


def asked_item(undefined: bool) -> Dataset:
    """A reference of another kind, which nothing is read of."""
    item = Dataset()
    item.ReferencedSOPClassUID = "1.2.3"
    inner = Dataset()
    inner.is_undefined_length_sequence_item = undefined
    inner.CodeValue = "X"
    item.PurposeOfReferenceCodeSequence = Sequence([inner])
    return item


def encoded(dataset: Dataset, *, implicit_vr: bool) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, implicit_vr
    write_dataset(buffer, dataset)
    return buffer.getvalue()


@given(_UIDS, _REFERENCES, st.booleans(), st.booleans())
def test_what_pydicom_writes_is_read_in_each_encoding(
    transaction: str, references: list[tuple[str, str]], implicit_vr: bool, undefined: bool
) -> None:
    data = encoded(asked(transaction, *references, undefined=undefined), implicit_vr=implicit_vr)
    distinct = tuple(dict.fromkeys(references))
    assert read_request(data, implicit_vr=implicit_vr) == CommitmentRequest(transaction, distinct)


@pytest.mark.parametrize(
    "request_", [asked("", (MR, "1.2")), asked("x", (MR, "1.2")), asked("1.2"), asked("1.2", (MR, ""))]
)
def test_a_request_without_its_uids_is_an_invalid_argument(request_: Dataset) -> None:
    with pytest.raises(RequestRefused) as refused:
        read_request(encoded(request_, implicit_vr=True), implicit_vr=True)
    assert refused.value.status == INVALID_ARGUMENT


def test_a_request_about_too_many_instances_is_told_so() -> None:
    references = [(MR, f"1.{number}") for number in range(MAX_REFERENCES + 1)]
    data = encoded(asked("1.2", *references[:-1]), implicit_vr=True)
    assert len(read_request(data, implicit_vr=True).references) == MAX_REFERENCES
    with pytest.raises(RequestRefused) as refused:
        read_request(encoded(asked("1.2", *references), implicit_vr=True), implicit_vr=True)
    assert refused.value.status == RESOURCE_LIMITATION
    half = encoded(asked("1.2", *references[: MAX_REFERENCES // 2 + 1]), implicit_vr=True)
    with pytest.raises(RequestRefused) as refused:  # in two sequences
        read_request(half + half, implicit_vr=True)
    assert refused.value.status == RESOURCE_LIMITATION


@settings(max_examples=300)
@given(st.data(), st.booleans())
def test_whatever_the_bytes_a_request_is_read_or_refused(data: st.DataObject, implicit_vr: bool) -> None:
    whole = bytearray(
        encoded(asked("1.2", (MR, "1.3"), (MR, "1.4"), undefined=True), implicit_vr=implicit_vr)
    )
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    with suppress(RequestRefused):
        read_request(bytes(cut), implicit_vr=implicit_vr)


def test_a_request_that_is_cut_short_names_no_shorter_uid() -> None:
    request = Dataset()
    request.TransactionUID = "1.2"
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = MR, "1.2.345678"
    request.ReferencedSOPSequence = Sequence([item])
    for element in request:
        element.is_undefined_length = element.VR == "SQ"
    item.is_undefined_length_sequence_item = True
    data = encoded(request, implicit_vr=True)
    end = data.index(b"1.2.345678")
    for cut in range(end, end + 10):
        with pytest.raises(RequestRefused):
            read_request(data[:cut], implicit_vr=True)


@pytest.mark.parametrize(
    "unit",
    [
        bytes(8),
        b"\xfe\xff\x00\xe0\xff\xff\xff\xff",
        b"\x08\x00\x99\x11\xff\xff\xff\xff",
        b"\x08\x00\x99\x11" + bytes(4),
        b"\x08\x00\x10\x11\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff",
    ],
    ids=["empty elements", "items", "open sequences", "empty sequences", "nested sequences"],
)
def test_the_longest_request_of_nothing_is_refused_at_once(unit: bytes) -> None:
    begin = time.monotonic()
    with pytest.raises(RequestRefused):
        read_request(unit * (MAX_REQUEST_BYTES // len(unit)), implicit_vr=True)
    assert time.monotonic() - begin < 5.0
