"""The spool: whole files or none, with the bytes as they came."""

import errno
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest

from dicom_listener.spool import AssociationInfo, Spool, open_spool, read_received
from dicom_listener.spool.room import Room
from neurotriage.core.errors import Unavailable
from neurotriage.core.settings import StorageSettings
from neurotriage.core.storage import Storage
from neurotriage.dicom.data_set import digest_of_file
from neurotriage.dicom.headers import read_instance
from tests.listener.conftest import PARTIES, data_set_of, encoded, instance, spooled

pytestmark = pytest.mark.unit


def all_files(spool_root: Path) -> list[Path]:
    return [path for path in spool_root.rglob("*") if path.is_file()]


def test_bytes_are_kept_as_received_behind_our_own_file_meta(spool: Spool) -> None:
    dataset = instance()
    spooled(spool, dataset)
    (path,) = spool.waiting()
    assert data_set_of(path) == encoded(dataset)
    meta = pydicom.dcmread(path).file_meta
    assert meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    assert meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
    assert meta.SourceApplicationEntityTitle == meta.SendingApplicationEntityTitle == "SENDER"
    assert meta.ReceivingApplicationEntityTitle == "NEUROTRIAGE"
    assert path.stat().st_mode & 0o777 == 0o600


def test_how_an_instance_came_is_read_back(spool: Spool) -> None:
    dataset = instance()
    spooled(spool, dataset)
    reception = read_received(spool.waiting()[0]).reception
    assert (reception.peer_ae_title, reception.peer_host) == ("SENDER", "127.0.0.1")
    assert reception.size_bytes == len(encoded(dataset))
    assert reception.received_at.tzinfo is not None


def test_a_data_set_is_written_as_it_comes_and_is_nobodys_before_the_end(spool: Spool) -> None:
    data = encoded(instance())
    uids = {"sop_class_uid": "1.2", "sop_instance_uid": "1.2.3", "transfer_syntax_uid": "1.2.840.10008.1.2.1"}
    with spool.begin(PARTIES, **uids) as incoming:
        for start in range(0, len(data), 1000):
            incoming.write(data[start : start + 1000])
            assert spool.waiting() == []
        incoming.commit()
    (path,) = spool.waiting()
    assert data_set_of(path) == data
    assert read_received(path).reception.digest == digest_of_file(path)


def test_an_association_that_ends_early_leaves_no_file(spool: Spool, storage: Storage) -> None:
    with spool.begin_report(PARTIES, "1.2.840.10008.1.2.1") as incoming:
        incoming.write(b"half of a report")
    assert all_files(storage.root) == []


def test_the_digest_names_the_data_set_alone(spool: Spool, tmp_path: Path) -> None:
    for _ in range(2):
        spooled(spool, instance())
    first, second = spool.waiting()
    assert digest_of_file(first) == digest_of_file(second)
    assert read_received(first).reception.digest == digest_of_file(first)
    assert read_instance(first).study_instance_uid == "1.2.3"


@pytest.mark.parametrize("damage", [b"", b"DICM", bytes(128) + b"DICM", bytes(128) + b"DICM" + b"\xff" * 200])
def test_a_damaged_file_meta_is_no_obstacle(damage: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(damage)
    assert read_received(path).reception.peer_ae_title == ""


def test_instances_are_listed_as_they_came(spool: Spool) -> None:
    names = [spooled(spool, instance(number=number)) for number in (3, 1, 2)]
    assert [path.stem for path in spool.waiting()] == names


@pytest.mark.parametrize(
    ("call", "times"), [("open", 2), ("write", 2), ("pwrite", 1), ("fsync", 2), ("rename", 1)]
)
def test_whichever_system_call_fails_no_file_is_left(
    call: str, times: int, spool: Spool, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = getattr(os, call)
    for failing in range(1, 10):
        calls = 0

        def fail(*arguments: object, failing: int = failing, **more: object) -> object:
            nonlocal calls
            calls += 1
            if calls == failing:
                raise OSError(errno.EIO, "broken disk")
            return real(*arguments, **more)

        monkeypatch.setattr(os, call, fail)
        try:
            spooled(spool, instance())
        except OSError:
            monkeypatch.setattr(os, call, real)
            assert all_files(storage.root) == []
        else:
            break
    assert failing == times + 1  # every call was made to fail once
    assert len(spool.waiting()) == 1


def test_below_the_free_space_limit_nothing_is_written(storage: Storage) -> None:
    full = Spool(storage, "main", min_free_bytes=1 << 60)
    with pytest.raises(OSError, match="min_free_bytes"):
        spooled(full, instance())
    assert all_files(storage.root) == []


def test_recovery_deletes_what_was_never_complete_and_keeps_the_rest(spool: Spool, storage: Storage) -> None:
    spooled(spool, instance())
    (storage.spool("main") / "tmp" / "half.dcm").write_bytes(b"half")
    again = Spool(storage, "main", min_free_bytes=0)
    assert again.recover() == 1
    assert len(again.waiting()) == 1
    again.close()


def test_two_processes_never_receive_into_one_spool(spool: Spool, storage: Storage) -> None:
    spool.recover()
    with pytest.raises(Unavailable, match="another process"):
        Spool(storage, "main", min_free_bytes=0).recover()
    spool.close()


@pytest.mark.parametrize(
    "information", [b"[1]", b'{"received_at": 7, "peer_host": ["x"]}', b'{"received_at": "soon"}', b"\xff"]
)
def test_a_damaged_reception_says_nothing_and_stops_nothing(spool: Spool, information: bytes) -> None:
    spooled(spool, instance())
    (path,) = spool.waiting()
    data = path.read_bytes()
    begin, end = data.index(b'{"peer_host"'), data.index(b"}") + 1
    path.write_bytes(data[:begin] + information.ljust(end - begin) + data[end:])
    reception = read_received(path).reception
    assert abs((datetime.now(UTC) - reception.received_at).total_seconds()) < 60
    assert len(reception.peer_host) <= 64


@pytest.mark.parametrize("title", ["A\0B", "\x1b[31mRED", "\u00fcber", "A" * 100, "", "a\nb"])
def test_an_ae_title_is_one_bounded_line_before_it_reaches_a_row(spool: Spool, title: str) -> None:
    spool.receive(
        AssociationInfo(title, title, "127.0.0.1"),
        sop_class_uid="1.2",
        sop_instance_uid="1.2.3",
        transfer_syntax_uid="1.2.840.10008.1.2",
        data_set=b"x",
    )
    reception = read_received(spool.waiting()[0]).reception
    assert len(reception.peer_ae_title) <= 16
    assert reception.peer_ae_title.isprintable()
    assert reception.affected_sop_instance_uid == "1.2.3"


def test_once_the_disk_was_short_receiving_begins_again_at_the_high_watermark() -> None:
    free_bytes = 1000
    room = Room(lambda: free_bytes, 100, 300)
    room.require(900)
    with pytest.raises(OSError, match="min_free"):
        room.require(901)
    for free_bytes in (250, 350):  # noqa: B007 - the room looks at it
        with pytest.raises(OSError, match="min_free"):
            room.require(100)
    free_bytes = 400
    room.require(100)
    room.require(300)  # short means below the low one again


def test_percents_of_the_disk_and_bytes_are_both_kept_free(storage: Storage) -> None:
    total = shutil.disk_usage(storage.root.parent).total

    def limits(**of: float) -> tuple[int, int]:
        room = open_spool(StorageSettings.model_validate({"root": storage.root, **of}), "main").room
        return room.low_bytes, room.high_bytes

    assert limits(min_free_bytes=5) == (5, 5)
    assert limits(min_free_bytes=5, resume_free_bytes=9) == (5, 9)
    low, high = limits(min_free_bytes=5, min_free_percent=10, resume_free_percent=20)
    assert (round(low / total, 3), round(high / total, 3)) == (0.1, 0.2)
