"""Where bytes lie, and that a file is absent or whole."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from neurotriage.core.storage import Storage, atomic_write, write_durably

pytestmark = pytest.mark.unit


def test_a_file_is_written_with_its_folders(tmp_path: Path) -> None:
    write_durably(tmp_path / "a" / "b" / "file", b"data")
    assert (tmp_path / "a" / "b" / "file").read_bytes() == b"data"
    assert list((tmp_path / "a" / "b").iterdir()) == [tmp_path / "a" / "b" / "file"]


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_durably(path, b"a long first content")
    reader = path.open("rb")
    write_durably(path, b"second")
    assert reader.read() == b"a long first content"  # who reads the old file reads all of it
    assert path.read_bytes() == b"second"
    reader.close()


@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.replace"])
def test_an_error_leaves_the_old_file_and_no_part_of_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "file"
    write_durably(path, b"old")

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(call, fails)
    with pytest.raises(OSError, match="No space left"):
        write_durably(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_bytes_are_synced_before_the_name_appears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    path = tmp_path / "file"
    real = os.fsync

    def fsync(descriptor: int) -> None:
        seen.append(path.exists())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_durably(path, b"data")
    assert seen == [False, True]  # the file, then its folder


def test_what_a_library_writes_by_name_is_absent_or_whole_too(tmp_path: Path) -> None:
    path = tmp_path / "model" / "file"
    with atomic_write(path, durable=False, private=False) as temporary:
        temporary.write_text("new")
        assert temporary.parent == path.parent
        assert not path.exists()
    assert path.read_text() == "new"

    def fails_halfway() -> None:
        with atomic_write(path, durable=False) as temporary:
            temporary.write_text("ha")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails_halfway()
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_what_can_be_made_again_is_not_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    with atomic_write(tmp_path / "file", durable=False) as temporary:
        temporary.write_bytes(b"data")
    assert synced == []


def test_every_place_lies_below_the_root(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    digest = "ab" * 32
    places = [
        storage.spool("listener"),
        storage.stored_instance(digest),
        storage.quarantine,
        storage.evidence(17),
        storage.result(17, "2.25.1"),
    ]
    assert all(place.is_relative_to(tmp_path) for place in places)
    assert len(set(places)) == len(places)
    assert storage.stored_instance(digest).name == f"{digest}.dcm"


@pytest.fixture
def anybody_may_read() -> Iterator[None]:
    """A umask that takes no right away, as some services have it."""
    before = os.umask(0)
    yield
    os.umask(before)


def _modes(root: Path) -> dict[str, int]:
    return {str(p.relative_to(root)): stat.S_IMODE(p.stat().st_mode) for p in root.rglob("*")}


@pytest.mark.usefixtures("anybody_may_read")
def test_what_is_written_is_for_our_own_user_alone_whatever_the_umask(tmp_path: Path) -> None:
    storage = Storage(tmp_path / "not" / "there")
    for path in (storage.result(17, "2.25.1"), storage.evidence(17)):
        write_durably(path, b"a patient")
    modes = _modes(tmp_path)
    assert len(modes) == 7
    assert {mode for name, mode in modes.items() if "." in name} == {0o600}
    assert {mode for name, mode in modes.items() if "." not in name} == {0o700}


@pytest.mark.usefixtures("anybody_may_read")
def test_folders_of_an_older_version_are_shut_and_what_is_not_ours_is_left(tmp_path: Path) -> None:
    root = tmp_path / "storage"
    (root / "lost+found").mkdir(parents=True)
    (root / "results" / "17").mkdir(parents=True)
    (root / "results" / "17" / "2.25.1.dcm").write_bytes(b"a patient")
    storage = Storage(root)
    assert storage.open_to_others() == [root / "results"]
    storage.shut()
    modes = _modes(root)
    assert (modes["results"], modes["lost+found"]) == (0o700, 0o777)
    assert storage.open_to_others() == []


@pytest.mark.usefixtures("anybody_may_read")
def test_what_a_user_asked_for_elsewhere_has_the_rights_of_the_umask(tmp_path: Path) -> None:
    write_durably(tmp_path / "out" / "result.json", b"[]", private=False)
    assert _modes(tmp_path) == {"out": 0o777, "out/result.json": 0o666}


def test_free_space_is_that_of_the_root(tmp_path: Path) -> None:
    assert Storage(tmp_path).free_bytes() > 0
