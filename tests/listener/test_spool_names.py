"""Whatever a peer sends and whatever the clock says, a spooled file has a name of ours."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_listener.spool import AssociationInfo, Spool, read_received, written_at
from neurotriage.core.storage import Storage
from neurotriage.dicom.peer_text import AE_TITLE_LIMIT, peer_text

pytestmark = pytest.mark.unit

_NAME_MAX_BYTES = 255  # of ext4 and XFS
# Until the year 5138, from where on nanoseconds have more digits.
_TIMES_NS = st.integers(0, 10**20 - 1)
_NASTY = st.sampled_from(
    ["../../etc/passwd", "/root", "..", ".", "a/b", "A\0B", "a\nb", "\\\\host\\share", ""]
)
_TITLES = _NASTY | st.text(max_size=40)
_UIDS = st.text("0123456789.", min_size=1, max_size=64)
_HOSTS = st.ip_addresses().map(str)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spool")


@pytest.fixture(scope="module")
def spool(root: Path) -> Spool:
    return Spool(Storage(root), "main", min_free_bytes=0)


@pytest.fixture(autouse=True)
def emptied(spool: Spool) -> Iterator[None]:
    yield
    for path in (*spool.waiting(), *spool.reports(), *spool.refused()):
        path.unlink()


def _spool_at(spool: Spool, at_ns: int, title: str = "A", uid: str = "1.2", host: str = "::1") -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: at_ns)
        return spool.receive(
            AssociationInfo(title, title, host),
            sop_class_uid=uid,
            sop_instance_uid=uid,
            transfer_syntax_uid=uid,
            data_set=b"x",
        )


@settings(deadline=None, max_examples=60)
@given(_TIMES_NS, _TITLES, _UIDS, _HOSTS)
def test_a_name_parses_back_and_stays_in_its_folder(
    spool: Spool, root: Path, at_ns: int, title: str, uid: str, host: str
) -> None:
    name = _spool_at(spool, at_ns, title, uid, host)
    (path,) = (path for path in spool.waiting() if path.stem == name)
    assert [found for found in root.rglob("*") if found.is_file()] == [path]
    assert path.resolve().parent == (root / "spool" / "main" / "new").resolve()
    assert len(path.name.encode()) < _NAME_MAX_BYTES
    wanted = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_ns // 1000)
    assert abs(written_at(path) - wanted) < timedelta(milliseconds=1)
    reception = read_received(path).reception
    assert reception.peer_ae_title == peer_text(
        peer_text(title, AE_TITLE_LIMIT).encode("ascii", "replace").decode(), AE_TITLE_LIMIT
    )
    assert (reception.affected_sop_instance_uid, reception.peer_host) == (uid, host)
    path.unlink()


@settings(deadline=None, max_examples=30)
@given(st.lists(_TIMES_NS, min_size=2, max_size=6, unique=True))
def test_names_sort_by_arrival(spool: Spool, times_ns: list[int]) -> None:
    names = {at_ns: _spool_at(spool, at_ns) for at_ns in times_ns}
    assert [path.stem for path in spool.waiting()] == [names[at_ns] for at_ns in sorted(times_ns)]
    for path in spool.waiting():
        path.unlink()


def test_two_instances_of_one_moment_have_two_names(spool: Spool) -> None:
    assert len({_spool_at(spool, 1) for _ in range(20)}) == len(spool.waiting()) == 20


@settings(deadline=None, max_examples=60)
@given(st.text("09²٣-.a", min_size=1, max_size=3), st.sampled_from([1, 7, 20]))
def test_a_name_that_is_not_ours_has_a_time_all_the_same(part: str, times: int) -> None:
    assert written_at(Path(f"{part * times}-x.dcm")).tzinfo is UTC
