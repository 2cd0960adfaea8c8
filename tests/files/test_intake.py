"""A file in pieces becomes the same spooled file as a data set that was sent."""

import itertools
from hashlib import sha256

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from dicom_listener.files.intake import FileIntake, NotTaken
from dicom_listener.spool import Spool, read_received
from tests.files.conftest import ASSOCIATION, as_file
from tests.listener.conftest import data_set_of, encoded, instance

pytestmark = pytest.mark.unit


def _take(spool: Spool, file: bytes, cuts: list[int] | None = None, **options: object) -> None:
    with FileIntake(spool, ASSOCIATION, **options) as intake:  # type: ignore[arg-type]
        edges = [0, *sorted(cut % (len(file) + 1) for cut in cuts or []), len(file)]
        for begin, end in itertools.pairwise(edges):
            intake.feed(file[begin:end])
        intake.commit()


@given(cuts=st.lists(st.integers(0, 100_000), max_size=12), study=st.sampled_from(["", "1.2.3"]))
@examples(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_however_a_file_is_cut_its_data_set_is_kept_byte_for_byte(
    spool: Spool, cuts: list[int], study: str
) -> None:
    file = as_file(instance())
    _take(spool, file, cuts, study_instance_uid=study)
    (path,) = spool.waiting()
    received = read_received(path).reception
    assert data_set_of(path) == file[144 + int.from_bytes(file[140:144], "little") :]
    assert received.digest == sha256(data_set_of(path)).hexdigest()
    assert received.affected_sop_instance_uid == "1.2.3.1.1"
    path.unlink()


def test_a_preamble_that_is_a_program_does_not_reach_the_spool(spool: Spool) -> None:
    _take(spool, b"MZ" + b"\x90" * 126 + as_file(instance())[128:])
    assert spool.waiting()[0].read_bytes()[:128] == bytes(128)


@pytest.mark.parametrize("cut", [10, 131, 140, 200])
def test_a_file_that_ends_early_leaves_nothing(spool: Spool, cut: int) -> None:
    with pytest.raises(NotTaken, match="ends"):
        _take(spool, as_file(instance())[:cut])
    assert not spool.waiting()


@pytest.mark.parametrize(
    ("file", "why"),
    [
        (as_file(instance(), DeflatedExplicitVRLittleEndian), "Deflated"),
        (as_file(instance(SOPClassUID="1.2.840.10008.1.3.10")), "Media Storage Directory"),
        (as_file(instance()).replace(b"1.2.3.1.1", b"../../x/1"), "digits and dots"),
        (b"%PDF-1.7" + bytes(1000), "no preamble"),
    ],
)
def test_what_the_listener_would_not_negotiate_is_refused_with_its_reason(
    spool: Spool, file: bytes, why: str
) -> None:
    with pytest.raises(NotTaken, match=why):
        _take(spool, file)
    assert not spool.waiting()


def test_a_private_transfer_syntax_is_refused(spool: Spool) -> None:
    file = as_file(instance()).replace(ExplicitVRLittleEndian.encode() + b"\0", b"1.2.840.113619.5.2\0\0")
    with pytest.raises(NotTaken, match="transfer syntax"):
        _take(spool, file)


def test_an_instance_of_another_study_than_the_request_is_refused(spool: Spool) -> None:
    with pytest.raises(NotTaken, match="not of the study"):
        _take(spool, as_file(instance()), study_instance_uid="1.2.4")


def test_a_data_set_larger_than_the_limit_is_refused_and_leaves_nothing(spool: Spool) -> None:
    size = len(encoded(instance()))
    _take(spool, as_file(instance()), limit_bytes=size)
    with pytest.raises(NotTaken, match="larger than"):
        _take(spool, as_file(instance()), limit_bytes=size - 1)
    assert len(spool.waiting()) == 1
    assert not list((spool.waiting()[0].parents[1] / "tmp").iterdir())


def test_a_data_set_without_file_meta_is_taken_where_it_may_be_bare(spool: Spool) -> None:
    _take(spool, encoded(instance()), bare=True)
    assert data_set_of(spool.waiting()[0]) == encoded(instance())
    with pytest.raises(NotTaken):
        _take(spool, encoded(instance()))
