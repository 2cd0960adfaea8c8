"""The start of a DICOM file, wherever its bytes are cut."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from neurotriage.core.errors import Refused
from neurotriage.dicom.part10 import META_LIMIT_BYTES, FileStart, bare_start, file_start
from tests.files.conftest import as_file
from tests.listener.conftest import encoded, instance

pytestmark = pytest.mark.unit

_FILE = as_file(instance())
_DATA_SET = _FILE[144 + int.from_bytes(_FILE[140:144], "little") :]


def test_a_file_says_what_it_holds_and_where_its_data_set_begins() -> None:
    start = file_start(_FILE)
    assert start == FileStart(
        MRImageStorage, "1.2.3.1.1", ExplicitVRLittleEndian, len(_FILE) - len(_DATA_SET)
    )


def test_a_group_length_that_lies_changes_nothing() -> None:
    lying = _FILE[:140] + (7).to_bytes(4, "little") + _FILE[144:]
    assert file_start(lying) == file_start(_FILE)


def test_every_cut_within_the_file_meta_asks_for_more() -> None:
    begin = len(_FILE) - len(_DATA_SET)
    assert {file_start(_FILE[:size]) for size in range(begin)} == {None}


def test_a_file_meta_without_end_is_refused_by_its_first_bytes() -> None:
    endless = _FILE[:144] + b"\x02\x00\x02\x01OB\0\0" + META_LIMIT_BYTES.to_bytes(4, "little")
    with pytest.raises(Refused, match="longer than"):
        file_start(endless)


@given(st.binary(max_size=400))
def test_random_bytes_behind_the_prefix_raise_nothing_but_a_refusal(data: bytes) -> None:
    with contextlib.suppress(Refused):
        file_start(bytes(128) + b"DICM" + data)


@given(st.binary(max_size=400))
def test_random_bytes_without_preamble_raise_nothing_but_a_refusal(data: bytes) -> None:
    with contextlib.suppress(Refused):
        bare_start(b"\x08\x00" + data)


def test_a_bare_data_set_names_its_instance() -> None:
    start = bare_start(encoded(instance())[:4096])
    assert (start.sop_instance_uid, start.transfer_syntax_uid) == ("1.2.3.1.1", ExplicitVRLittleEndian)
