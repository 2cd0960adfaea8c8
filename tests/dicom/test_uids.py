"""UIDs: derived ones repeat, random ones do not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import UID

from neurotriage.dicom.uids import derived_uid, random_uid

pytestmark = pytest.mark.unit


def test_the_same_parts_give_the_same_uid_on_every_host_for_ever() -> None:
    assert derived_uid("2.25.1", "page", "0") == "2.25.128253236858949442484644582963728918818"


@settings(deadline=None)
@given(st.lists(st.text(max_size=80), max_size=6))
def test_a_derived_uid_is_valid(parts: list[str]) -> None:
    uid = UID(derived_uid(*parts))
    assert uid.is_valid
    assert len(uid) <= 44


@pytest.mark.parametrize(
    "other", [("b", "a"), ("ab",), ("a", "b", ""), ("a",), ("a", "b "), ("A", "b")], ids=repr
)
def test_other_parts_or_another_order_give_another_uid(other: tuple[str, ...]) -> None:
    assert derived_uid(*other) != derived_uid("a", "b")


def test_random_uids_are_valid_and_differ() -> None:
    uids = {random_uid() for _ in range(100)}
    assert len(uids) == 100
    assert all(UID(uid).is_valid for uid in uids)
