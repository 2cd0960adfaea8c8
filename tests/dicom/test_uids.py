"""UIDs: derived ones repeat, random ones do not."""

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import UID

from neurotriage.dicom.uids import derived_uid, random_uid

pytestmark = pytest.mark.unit


def test_the_same_parts_give_the_same_uid_on_every_host_for_ever() -> None:
    assert derived_uid("2.25.1", "page", "0") == "2.25.128253236858949442484644582963728918818"


# Parts are UIDs, digests, numbers and texts of the configuration: none holds NUL.
_PARTS = st.lists(st.text("0129.abZ -|/\\\n\x01é頭", max_size=80), min_size=1, max_size=8)


@settings(deadline=None, max_examples=100)
@given(_PARTS)
def test_a_derived_uid_is_valid_and_repeats(parts: list[str]) -> None:
    uid = derived_uid(*parts)
    # PS3.5 9.1: components of digits, none with a leading zero, 64 characters at most.
    assert re.fullmatch(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+", uid, re.ASCII)
    assert len(uid) <= 64
    assert uid.startswith("2.25.")  # PS3.5 B.2
    assert UID(uid).is_valid
    assert derived_uid(*parts) == uid


@settings(deadline=None, max_examples=100)
@given(_PARTS, _PARTS)
def test_different_parts_give_different_uids(parts: list[str], others: list[str]) -> None:
    assert (derived_uid(*parts) == derived_uid(*others)) == (parts == others)


@settings(deadline=None, max_examples=100)
@given(_PARTS.filter(lambda parts: "".join(parts) != ""), st.data())
def test_where_one_part_ends_and_the_next_begins_counts(parts: list[str], data: st.DataObject) -> None:
    joined = "".join(parts)
    cuts = data.draw(st.sets(st.integers(0, len(joined)), max_size=4))
    bounds = [0, *sorted(cuts), len(joined)]
    again = [joined[start:end] for start, end in itertools.pairwise(bounds)]
    assert (derived_uid(*parts) == derived_uid(*again)) == (parts == again)


@pytest.mark.parametrize(
    "other",
    [("b", "a"), ("ab",), ("", "ab"), ("ab", ""), ("a", "b", ""), ("a",), ("a", "b "), ("A", "b")],
    ids=repr,
)
def test_other_parts_or_another_order_give_another_uid(other: tuple[str, ...]) -> None:
    assert derived_uid(*other) != derived_uid("a", "b")


def test_random_uids_are_valid_and_differ() -> None:
    uids = {random_uid() for _ in range(100)}
    assert len(uids) == 100
    assert all(UID(uid).is_valid for uid in uids)
