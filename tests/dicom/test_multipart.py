"""A multipart message says the same however it is cut."""

import itertools
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurotriage.dicom.multipart import (
    Malformed,
    MultipartReader,
    PartBegin,
    PartData,
    PartEnd,
    boundary_of,
    content_type,
)

pytestmark = pytest.mark.unit

_PARTS = st.lists(
    st.one_of(
        st.binary(max_size=200),
        st.lists(st.sampled_from([b"\r\n", b"--", b"\r\n--", b"b", b"-", b"\r", b"x"]), max_size=20).map(
            b"".join
        ),
    ),
    min_size=1,
    max_size=4,
).filter(lambda parts: not any(b"\r\n--bound" in b"\r\n" + part for part in parts))


def _read(message: bytes, cuts: list[int]) -> tuple[list[bytes], bool]:
    reader = MultipartReader(b"bound")
    parts: list[bytes] = []
    edges = [0, *sorted(cut % (len(message) + 1) for cut in cuts), len(message)]
    for begin, end in itertools.pairwise(edges):
        for event in reader.feed(message[begin:end]):
            if isinstance(event, PartBegin):
                parts.append(b"")
                assert event.headers == {"content-type": "application/dicom"}
            elif isinstance(event, PartData):
                parts[-1] += event.data
            else:
                assert isinstance(event, PartEnd)
    return parts, reader.complete


@given(_PARTS, st.lists(st.integers(0, 5000), max_size=20), st.sampled_from([b"", b"a preamble\r\n"]))
def test_the_parts_are_those_that_were_put_in(parts: list[bytes], cuts: list[int], preamble: bytes) -> None:
    message = preamble + b"".join(
        b"--bound \t\r\nContent-Type: application/dicom\r\n\r\n" + part + b"\r\n" for part in parts
    )
    assert _read(message + b"--bound--\r\nan epilogue", cuts) == (parts, True)
    assert _read(message, cuts)[1] is False


@given(_PARTS)
def test_a_part_cut_byte_by_byte_is_the_same(parts: list[bytes]) -> None:
    message = b"".join(
        b"--bound\r\nContent-Type: application/dicom\r\n\r\n" + part + b"\r\n" for part in parts
    )
    message += b"--bound--"
    assert _read(message, list(range(len(message)))) == (parts, True)


@pytest.mark.parametrize(
    "message",
    [
        b"x" * 100_000,
        b"--boundary\r\n\r\n",
        b"--bound\r\nA: " + b"x" * 10_000,
        b"--bound" + b" " * 1000,
    ],
)
def test_what_is_no_multipart_message_is_refused_before_it_fills_memory(message: bytes) -> None:
    with pytest.raises(Malformed):
        list(MultipartReader(b"bound").feed(message))


@given(st.binary(max_size=300))
def test_random_bytes_raise_nothing_else(data: bytes) -> None:
    reader = MultipartReader(b"bound")
    try:
        list(reader.feed(b"--bound" + data))
    except Malformed:
        return


def test_a_boundary_may_be_quoted_and_must_be_one() -> None:
    assert (
        boundary_of(content_type('Multipart/Related; TYPE="application/dicom"; boundary="a b\'c"'))
        == b"a b'c"
    )
    for wrong in (
        "multipart/related",
        "multipart/form-data; boundary=x",
        f"multipart/related; boundary={'x' * 257}",
        "",
    ):
        with pytest.raises(Malformed):
            boundary_of(content_type(wrong))


def test_headers_of_another_mail_library_are_read() -> None:
    message = EmailMessage()
    message.set_content(b"x", maintype="application", subtype="dicom", cte="8bit")
    head = message.as_bytes().split(b"\n\n")[0].replace(b"\n", b"\r\n")
    begin = next(iter(MultipartReader(b"bound").feed(b"--bound\r\n" + head + b"\r\n\r\n")))
    assert isinstance(begin, PartBegin)
    assert begin.headers["content-type"] == "application/dicom"
