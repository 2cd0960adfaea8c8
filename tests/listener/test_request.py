"""An A-ASSOCIATE-RQ is read leniently: what cannot be read costs itself."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_RQ

from dicom_listener.association.request import Title, readable, title_of

pytestmark = pytest.mark.unit

VERIFICATION = b"1.2.840.10008.1.1"
IMPLICIT = b"1.2.840.10008.1.2"


def item(kind: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(payload)) + payload


def context(number: int, abstract: bytes = VERIFICATION, *syntaxes: bytes) -> bytes:
    parts = b"".join(item(0x40, syntax) for syntax in syntaxes or (IMPLICIT,))
    return item(0x20, bytes((number, 0, 0, 0)) + item(0x30, abstract) + parts)


def a_associate_rq(
    *contexts: bytes,
    called: bytes = b"NEUROTRIAGE     ",
    calling: bytes = b"SENDER          ",
    implementation: bytes = b"1.2.3",
    information: bytes = b"",
) -> bytes:
    """Written by hand: pynetdicom refuses to encode what real peers send."""
    user = item(0x51, struct.pack(">L", 16_384)) + item(0x52, implementation) + information
    body = struct.pack(">HH16s16s32x", 1, 0, called, calling)
    body += item(0x10, b"1.2.840.10008.3.1.1.1") + b"".join(contexts or (context(1),)) + item(0x50, user)
    return struct.pack(">BBL", 1, 0, len(body)) + body


def decoded(pdu: bytes) -> A_ASSOCIATE_RQ:
    request = A_ASSOCIATE_RQ()
    request.decode(pdu)
    return request


@pytest.mark.parametrize(
    ("field", "text", "usable"),
    [
        (b"PACS\0\0\0\0\0\0\0\0\0\0\0\0", "PACS", True),
        (b"   PACS         ", "PACS", True),
        (b" PACS 1 \0\0 \0    ", "PACS 1", True),
        (b"P\xc4CS            ", "P\\xc4CS", False),
        (b"PA\0CS           ", "PA\\x00CS", False),
        (b"A\\B\n            ", "A\\x5cB\\x0a", False),
        (b" " * 16, "", False),
        (b"\0" * 16, "", False),
    ],
)
def test_a_title_loses_its_padding_and_nothing_else(field: bytes, text: str, usable: bool) -> None:
    assert title_of(field) == Title(text, usable)


def test_a_request_that_is_right_stays_as_it_is() -> None:
    pdu = a_associate_rq(context(1), context(3, b"1.2.3", IMPLICIT, b"1.2.840.10008.1.2.1"))
    request = readable(pdu)
    assert request.pdu == pdu
    assert request.unreadable == ()


@pytest.mark.parametrize(
    "items",
    [b"", item(0x30, VERIFICATION), item(0x40, IMPLICIT)],
    ids=["nothing", "no transfer", "no abstract"],
)
def test_a_context_without_a_syntax_costs_itself_only(items: bytes) -> None:
    request = readable(a_associate_rq(item(0x20, bytes((1, 0, 0, 0)) + items), context(3)))
    half, whole = decoded(request.pdu).presentation_context
    assert half.abstract_syntax
    assert half.transfer_syntax
    assert (half.abstract_syntax, half.transfer_syntax) != (VERIFICATION.decode(), [IMPLICIT.decode()])
    assert (whole.abstract_syntax, whole.transfer_syntax) == (VERIFICATION.decode(), [IMPLICIT.decode()])


def test_an_overlong_uid_costs_its_context_only() -> None:
    long = b"1." * 40
    request = readable(a_associate_rq(context(1), context(3, long), context(5, VERIFICATION, long, IMPLICIT)))
    first, second, third = decoded(request.pdu).presentation_context
    assert first.abstract_syntax == VERIFICATION.decode()
    assert str(second.abstract_syntax).startswith("2.25.")
    assert third.transfer_syntax == [IMPLICIT.decode()]
    assert request.abstract_syntaxes.keys() == {3}
    assert len(request.abstract_syntaxes[3]) <= 64
    assert len(request.unreadable) == 2


def test_padding_of_uids_is_not_part_of_them() -> None:
    request = decoded(readable(a_associate_rq(context(1, VERIFICATION + b"\0", IMPLICIT + b" "))).pdu)
    assert request.presentation_context[0].abstract_syntax == VERIFICATION.decode()
    assert request.presentation_context[0].transfer_syntax == [IMPLICIT.decode()]


def test_what_is_said_of_an_unreadable_class_is_left_out() -> None:
    bad, good = b"\xff" * 70, VERIFICATION
    roles = b"".join(item(0x54, struct.pack(">H", len(uid)) + uid + b"\1\1") for uid in (bad, good))
    request = readable(a_associate_rq(implementation=b"\xff" * 65, information=roles))
    primitive = decoded(request.pdu).to_primitive()
    kinds = [type(part).__name__ for part in primitive.user_information]
    assert kinds.count("SCP_SCU_RoleSelectionNegotiation") == 1


@given(st.binary(max_size=300), st.integers(0, 200))
def test_any_bytes_come_back_as_a_pdu_of_its_length(noise: bytes, at: int) -> None:
    pdu = a_associate_rq()
    for data in (b"\x01\x00" + noise, pdu[: 74 + at] + noise, pdu[:at] + noise + pdu[at + len(noise) :]):
        request = readable(data)
        assert len(request.pdu) == 6 + int.from_bytes(request.pdu[2:6], "big")
        assert request.called.text.isascii()
