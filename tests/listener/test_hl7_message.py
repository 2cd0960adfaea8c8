"""HL7 ADT^A40 as bytes: what is read of it, and why it is refused."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_listener.hl7.encoding import UnusableMessage
from dicom_listener.hl7.message import MAX_MERGES, MergeMessage, parse_merge
from neurotriage.core.patient import PatientIdentity, PatientMerge
from tests.conftest import ROOT

pytestmark = pytest.mark.unit

PID = "PID|1||B^^^CLINIC^MR||Beta^Bert||19500102|M"
MRG = "MRG|A^^^CLINIC^MR"
MERGE = PatientMerge("A", frozenset({"CLINIC"}), PatientIdentity("B", "CLINIC", "Beta^Bert", "19500102", "M"))


def header(kind: str = "ADT^A40^ADT_A39", *, charset: str = "", processing: str = "P") -> str:
    return rf"MSH|^~\&|ADT|CLINIC|NT|CLINIC|20260102030405||{kind}|MSG0001|{processing}|2.5||||||{charset}"


def message(*segments: str, head: str = "", end: str = "\r", codec: str = "ascii") -> bytes:
    return "".join(f"{one}{end}" for one in (head or header(), "EVN||20260102", *segments)).encode(codec)


def refusal(data: bytes) -> str:
    with pytest.raises(UnusableMessage) as caught:
        parse_merge(data)
    return str(caught.value)


def only(data: bytes) -> PatientMerge:
    (merge,) = parse_merge(data).merges
    return merge


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
@pytest.mark.parametrize("kind", ["ADT^A40", "ADT^A40^ADT_A39"])
def test_every_end_of_segments_and_form_of_the_type_gives_the_same(end: str, kind: str) -> None:
    data = message(PID, "PD1|", MRG, "PV1||I", head=header(kind), end=end)
    assert parse_merge(data) == MergeMessage("MSG0001", (MERGE,))


@pytest.mark.parametrize("close", [b"\x1c\r", b"\x1c"])
def test_the_framing_of_mllp_is_taken_off(close: bytes) -> None:
    assert only(b"\x0b" + message(PID, MRG) + close) == MERGE
    assert only(b"\x0b" + message(PID, MRG).rstrip(b"\r") + close) == MERGE


MARKS = st.permutations(list("|^~\\&!$%*+:;<>@#"))


@given(MARKS)
def test_separators_are_those_that_the_message_declares(marks: list[str]) -> None:
    to = str.maketrans(dict(zip("|^~\\&", marks, strict=False)))
    assert only(message(PID, MRG).decode().translate(to).encode()) == MERGE


@given(st.binary(max_size=300))
def test_any_bytes_give_a_value_or_a_refusal(data: bytes) -> None:
    for wrapped in (data, b"MSH" + data, message() + data + b"\r", b"\x0b" + data + b"\x1c\r"):
        with suppress(UnusableMessage):
            parse_merge(wrapped)


@given(st.data())
def test_a_message_with_other_bytes_in_it_gives_a_value_or_a_refusal(data: st.DataObject) -> None:
    whole = bytearray(message(PID, MRG, head=header(charset="UNICODE UTF-8")))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with suppress(UnusableMessage):
        parse_merge(bytes(whole))


@given(st.integers(0, len(message(PID, MRG)) - 1))
def test_a_message_that_is_cut_off_anywhere_merges_nobody(length: int) -> None:
    assert refusal(message(PID, MRG)[:length])
    assert refusal((b"\x0b" + message(PID, MRG))[: length + 1])


LETTERS = st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters='\\^="')
TEXT = st.text(LETTERS, min_size=1, max_size=30)


@given(TEXT, TEXT)
def test_texts_come_back_as_they_were_escaped(family: str, given_name: str) -> None:
    def escaped(text: str) -> str:
        marks = {"|": "\\F\\", "&": "\\T\\", "~": "\\R\\"}
        return "".join(marks.get(one, one) for one in text)

    pid = f"PID|||B^^^CLINIC||{escaped(family)}^{escaped(given_name)}"
    data = message(pid, MRG, head=header(charset="UNICODE UTF-8"), codec="utf-8")
    assert only(data).to.name == f"{family}^{given_name}"


@pytest.mark.parametrize(
    ("charset", "codec"), [("8859/1", "latin-1"), ("UNICODE UTF-8", "utf-8"), ("8859/15", "iso8859-15")]
)
def test_a_name_is_read_in_the_character_set_that_is_named(charset: str, codec: str) -> None:
    pid = "PID|||B^^^CLINIC||Bäcker^Jürgen"
    assert only(message(pid, MRG, head=header(charset=charset), codec=codec)).to.name == "Bäcker^Jürgen"
    assert refusal(message(pid, MRG, codec=codec)) == "it is not in the character set that MSH-18 names"


def test_other_character_sets_are_refused() -> None:
    for charset in ("ISO IR87", "UNICODE", "ASCII~8859/1"):
        assert "MSH-18" in refusal(message(PID, MRG, head=header(charset=charset)))


def test_several_pairs_stay_in_their_order_and_a_chain_is_one_of_them() -> None:
    data = message(PID, MRG, "PID|||C^^^CLINIC", "MRG|B^^^CLINIC")
    assert [(one.prior_id, one.to.patient_id) for one in parse_merge(data).merges] == [("A", "B"), ("B", "C")]


@pytest.mark.parametrize(
    ("pid_3", "mrg_1", "expected"),
    [
        ("X^^^STATE^SS~B^^^CLINIC^MR", "A^^^CLINIC^MR", [("A", "B", "CLINIC")]),
        ("B^^^&1.2.3&ISO", "A^^^CLINIC&1.2.3&ISO", [("A", "B", "1.2.3")]),
        ("B", "A^^^CLINIC", [("A", "B", "")]),
        ("B^^^CLINIC", "A", [("A", "B", "CLINIC")]),
        ("B^^^CLINIC~X^^^STATE", "A^^^CLINIC~X^^^STATE", [("A", "B", "CLINIC")]),
        ("B^^^CLINIC~Y^^^STATE", "A^^^CLINIC~X^^^STATE", [("A", "B", "CLINIC"), ("X", "Y", "STATE")]),
        ("B^^^CLINIC^MR~99^^^CLINIC^AN", "A^^^CLINIC^MR", [("A", "B", "CLINIC")]),
    ],
)
def test_a_prior_id_goes_to_that_of_the_same_authority(
    pid_3: str, mrg_1: str, expected: list[tuple[str, str, str]]
) -> None:
    merges = parse_merge(message(f"PID|||{pid_3}", f"MRG|{mrg_1}")).merges
    assert [(one.prior_id, one.to.patient_id, one.to.issuer) for one in merges] == expected


def test_a_name_has_its_parts_in_the_order_of_dicom_and_its_representations() -> None:
    pid = "PID|||B^^^CLINIC||Yamada&&&&^Tarou^M^Jr^Dr^MD^L^A~山田^太郎^^^^^L^I~やまだ^たろう^^^^^L^P"
    data = message(pid, MRG, head=header(charset="UNICODE UTF-8"), codec="utf-8")
    assert only(data).to.name == "Yamada^Tarou^M^Dr^Jr MD=山田^太郎=やまだ^たろう"


@pytest.mark.parametrize(
    ("fields", "birth_date", "sex"),
    [
        ("19500102|F", "19500102", "F"),
        ("195001020304+0100^D|U", "19500102", ""),
        ("195001|A", "", "O"),
        ('""|""', "", ""),
        ("|M^Male^HL70001", "", "M"),
    ],
)
def test_birth_date_and_sex_become_those_of_dicom(fields: str, birth_date: str, sex: str) -> None:
    to = only(message(f"PID|||B^^^CLINIC||||{fields}", MRG)).to
    assert (to.birth_date, to.sex) == (birth_date, sex)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not ended by CR or LF"),
        (b"not a message\r", "does not begin with MSH"),
        (b"MSH\r", "no separators"),
        (b"MSH|^^^^|\r", "no separators"),
        (message(PID, MRG, head=header("ADT^A08")), "MSH-9"),
        (message(PID, MRG, head=header("ADT^A40^ADT_A01")), "MSH-9"),
        (message(PID, MRG, head=header(processing="T")), "MSH-11"),
        (message(PID, MRG).replace(b"MSG0001", b""), "MSH-10"),
        (message(), "no PID"),
        (message(PID), "no MRG"),
        (message(PID, PID, MRG), "no MRG"),
        (message(MRG), "no PID"),
        (message(PID, "MRG|"), "MRG-1 has no patient ID"),
        (message("PID|||", MRG), "PID-3 has no patient ID"),
        (message("PID|||A^^^CLINIC", MRG), "into itself"),
        (message("PID|||B^^^OTHER", MRG), "no ID of the authority"),
        (message("PID|||B^^^CLINIC~C^^^CLINIC", MRG), "several IDs"),
        (message("PID|||B~C", "MRG|A"), "several IDs"),
        (message(PID, MRG, "PID|||A^^^CLINIC", "MRG|B^^^CLINIC"), "who is merged away"),
        (message(PID, MRG, "PID|||C^^^CLINIC", MRG), "a patient twice"),
        (message(r"PID|||B\X41\^^^CLINIC", MRG), "escape sequence is none"),
        (message(r"PID|||B\F^^^CLINIC", MRG), "not closed"),
        (message(f"PID|||{'B' * 65}^^^CLINIC", MRG), "PID: the patient ID"),
        (message(r"PID|||B^^^CLINIC||Be\S\ta", MRG), "PID-5"),
        (message("PID|||B^^^CLINIC||||19501301", MRG), "PID: the birth date"),
        (message("PID|||B^^^CLINIC||||soon", MRG), "PID-7"),
        (message("PID|||B^^^CLINIC|||||X", MRG), "PID-8"),
        (message(PID, MRG) + message(PID, MRG), "several messages"),
        (message(PID, MRG, "nonsense"), "no name"),
        (message(PID, MRG, "NTE|\x07"), "control characters"),
        (b"\x0b" + message(PID, MRG), "frame"),
        (b"\x0b" + message(PID, MRG) + b"\x1c\r\x0bMSH", "frame"),
        (
            message(*(s for n in range(MAX_MERGES + 1) for s in (f"PID|||B{n}", f"MRG|A{n}"))),
            f"more than {MAX_MERGES}",
        ),
    ],
)
def test_what_cannot_be_relied_on_is_refused_without_naming_a_value(data: bytes, why: str) -> None:
    assert why in refusal(data)
    assert "Bert" not in refusal(data)


def test_the_documented_message_is_one() -> None:
    text = (ROOT / "docs" / "admin.md").read_text()
    (example,) = (block for block in text.split("```\n") if block.startswith("MSH|"))
    (one,) = parse_merge(example.encode()).merges
    assert (one.prior_id, one.to.patient_id, one.to.name) == ("0815", "4711", "Beta^Bert")
