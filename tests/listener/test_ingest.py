"""From the spool to rows and the store, with a real Postgres and a real child process."""

import os
import signal
import struct
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from sqlalchemy import Connection, Engine, create_engine, event, text

from db.studies.parents import Received
from dicom_listener.backlog import OTHER_PEER_S, Backlog
from dicom_listener.ingest import ingest as ingest_module
from dicom_listener.ingest import store as store_module
from dicom_listener.ingest.header_reader import ReadRequest
from dicom_listener.ingest.header_readers import READERS, SLOW_READERS, HeaderReaders, ReadResult
from dicom_listener.ingest.ingest import GROUP, Ingest, Ingested
from dicom_listener.ingest.quarantine import Quarantine
from dicom_listener.spool import AssociationInfo, Spool, Spools, reception_by_file
from neurotriage.core.errors import Unavailable
from neurotriage.core.settings import DeliverySettings
from neurotriage.core.storage import Storage
from neurotriage.core.values import Reason, ReasonCode
from neurotriage.dicom.headers import MANUFACTURER, InstanceHeader
from neurotriage.dicom.uids import RUN_INSTALLATION_UID
from tests.conftest import until
from tests.listener.conftest import (
    PARTIES,
    assemble,
    data_set_of,
    encoded,
    instance,
    real_files,
    rows,
    spooled,
)


@pytest.fixture
def take_in(ingest: Ingest) -> Callable[[], Ingested]:
    return ingest.drain


@pytest.fixture
def ingest_with(
    engine: Engine, storage: Storage, spool: Spool, quarantine: Quarantine
) -> Callable[[HeaderReaders], Ingest]:
    return lambda readers: Ingest(engine, storage, spool, readers, quarantine, limits=DeliverySettings())


def stored(storage: Storage) -> list[Path]:
    return sorted((storage.root / "store").rglob("*.dcm"))


def slow_header() -> bytes:
    """A million empty items: 8 MB that keep a parser busy for a minute."""
    sequence = struct.pack("<HH2sxxL", 0x0008, 0x1140, b"SQ", 0xFFFFFFFF)
    return sequence + b"\xfe\xff\x00\xe0\0\0\0\0" * 10**6


def test_an_instance_becomes_rows_and_a_stored_file_with_its_bytes(
    take_in: Callable[[], Ingested], engine: Engine, storage: Storage, spool: Spool
) -> None:
    image = instance()
    spooled(spool, image)
    assert take_in() == Ingested(recorded=1)
    assert spool.waiting() == []
    (file,) = stored(storage)
    assert data_set_of(file) == encoded(image)
    query = "select sop_instance_uid, digest, size_bytes, counts, peer_ae_title, peer_host from instances"
    expected = (image.SOPInstanceUID, file.stem, len(encoded(image)), True, "SENDER", "127.0.0.1")
    assert rows(engine, query) == [expected]


def test_interleaved_studies_are_told_apart(
    take_in: Callable[[], Ingested], engine: Engine, spool: Spool
) -> None:
    for number in range(1, 41):
        spooled(spool, instance("1.2.3", number))
        spooled(spool, instance("1.2.4", number))
    assert take_in() == Ingested(recorded=80)
    query = (
        "select study_instance_uid, count(*) from studies s join instances i on i.study_id = s.id group by 1"
    )
    assert sorted(rows(engine, query)) == [("1.2.3", 40), ("1.2.4", 40)]


def test_the_same_instance_twice_is_one_row_and_one_file(
    take_in: Callable[[], Ingested], engine: Engine, storage: Storage, spool: Spool
) -> None:
    for _ in range(2):
        spooled(spool, instance())
    assert take_in() == Ingested(recorded=1, repeated=1)
    assert rows(engine, "select times_received from instances") == [(2,)]
    assert len(stored(storage)) == 1


def test_one_uid_with_other_bytes_is_kept_and_recorded_and_the_first_counts(
    take_in: Callable[[], Ingested], engine: Engine, storage: Storage, spool: Spool
) -> None:
    first, second = instance(), instance(SeriesDescription="changed")
    spooled(spool, first)
    spooled(spool, second)
    assert take_in() == Ingested(recorded=1, repeated=1)
    assert {data_set_of(path) for path in stored(storage)} == {encoded(first), encoded(second)}
    assert rows(engine, "select counts from instances order by id") == [(True,), (False,)]
    assert ("same_uid_other_bytes",) in rows(engine, "select kind from events")


def test_two_patients_under_one_study_are_a_conflict(
    take_in: Callable[[], Ingested], engine: Engine, spool: Spool
) -> None:
    spooled(spool, instance(number=1, patient="P1"))
    spooled(spool, instance(number=2, patient="P2"))
    take_in()
    time.sleep(0.05)
    assert len(assemble(engine, 0.02)) == 1
    assert "2 different patients" in str(rows(engine, "select conflict from revisions")[0][0])


def test_results_of_a_folder_run_and_of_the_doctor_are_known_and_spoofed_images_are_analysed(
    take_in: Callable[[], Ingested], engine: Engine, spool: Spool
) -> None:
    ours = {"Manufacturer": MANUFACTURER, "InstanceCreatorUID": RUN_INSTALLATION_UID}
    spooled(spool, instance("1.2.3", SOPClassUID="1.2.840.10008.5.1.4.1.1.7", **ours))
    spooled(spool, instance("1.2.4", **ours))
    assert take_in() == Ingested(recorded=2)
    states = "select study_instance_uid, state from studies"
    assert sorted(rows(engine, states)) == [("1.2.3", "quiet"), ("1.2.4", "open")]
    assert rows(engine, "select kind from events where kind like 'claims%'") == [("claims_to_be_ours",)]
    time.sleep(0.05)
    assert len(assemble(engine, 0.02)) == 1


def test_a_late_instance_makes_another_revision_and_a_repeated_one_does_not(
    take_in: Callable[[], Ingested], engine: Engine, spool: Spool
) -> None:
    def revisions_after(number: int) -> int:
        spooled(spool, instance(number=number))
        take_in()
        time.sleep(0.05)
        assemble(engine, 0.02)
        return len(rows(engine, "select 1 from revisions"))

    assert [revisions_after(1), revisions_after(1), revisions_after(2)] == [1, 1, 2]


def test_a_study_that_is_not_quiet_yet_is_not_frozen(
    take_in: Callable[[], Ingested], engine: Engine, spool: Spool
) -> None:
    spooled(spool, instance())
    take_in()
    assert assemble(engine, 60.0) == []
    assert rows(engine, "select state from studies") == [("open",)]


def without(keyword: str) -> Dataset:
    image = instance()
    delattr(image, keyword)
    return image


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"\xfe" * 1000, "not_dicom"),
        (b"hello, I am a text file\n" * 40, "not_dicom"),
        (encoded(without("StudyInstanceUID")), "no_study"),
        (encoded(without("SeriesInstanceUID")), "no_study"),
    ],
    ids=["garbage", "text", "no study", "no series"],
)
def test_what_cannot_be_used_is_quarantined_with_a_reason_and_others_flow(
    take_in: Callable[[], Ingested], engine: Engine, storage: Storage, spool: Spool, content: bytes, code: str
) -> None:
    name = spooled(spool, content)
    spooled(spool, instance("1.2.9"))
    assert take_in() == Ingested(recorded=1, quarantined=1)
    query = "select name, code, peer_ae_title from quarantined"
    assert rows(engine, query) == [(f"{name}.dcm", code, "SENDER")]
    assert data_set_of(storage.quarantine / f"{name}.dcm") == content


def test_a_number_that_no_database_takes_costs_the_number_and_not_the_instance(
    take_in: Callable[[], Ingested], engine: Engine, spool: Spool
) -> None:
    spooled(spool, encoded(instance(number=7)).replace(b"IS\x02\x007 ", b"IS\x16\x00" + b"9" * 22))
    assert take_in() == Ingested(recorded=1)
    assert rows(engine, "select instance_number from instances") == [(None,)]


class Changing(HeaderReaders):
    """Readers in front of which a value is changed: what no sender can be made to send."""

    def __init__(self, change: Callable[[InstanceHeader], InstanceHeader]) -> None:
        super().__init__(readers=1)
        self._change = change

    def answers(self, timeout_s: float) -> list[tuple[ReadRequest, ReadResult]]:
        return [
            (request, self._change(read) if isinstance(read, InstanceHeader) else read)
            for request, read in super().answers(timeout_s)
        ]


@pytest.mark.parametrize(
    "change",
    [{"instance_number": 2**70}, {"body_part": "A\0B"}, {"body_part": "\ud83d"}],
    ids=["out of range", "NUL", "half a pair"],
)
def test_a_value_that_fits_into_no_column_costs_its_instance_and_others_flow(
    engine: Engine,
    spool: Spool,
    ingest_with: Callable[[HeaderReaders], Ingest],
    change: dict[str, Any],
) -> None:
    def spoil(header: InstanceHeader) -> InstanceHeader:
        return replace(header, **change) if header.instance_number == 2 else header

    names = [spooled(spool, instance(number=number)) for number in (1, 2, 3)]
    with Changing(spoil) as readers:
        assert ingest_with(readers).drain() == Ingested(recorded=2, quarantined=1)
    assert rows(engine, "select instance_number from instances order by 1") == [(1,), (3,)]
    query = "select name, code, kind, path, size_bytes from quarantined"
    name = f"{names[1]}.dcm"
    size_bytes = len(encoded(instance(number=2)))
    assert rows(engine, query) == [(name, "not_recorded", "instance", f"quarantine/{name}", size_bytes)]
    assert spool.waiting() == []


def test_an_error_of_ours_costs_its_file_the_second_time_and_others_flow(
    engine: Engine, storage: Storage, spool: Spool, ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a file triggers, it is told, tried once more, and set aside."""
    real, tries = ingest_module.record_instances, 0

    def fail(connection: Connection, received: Sequence[Received], **more: Any) -> list[bool]:
        nonlocal tries
        if any(header.instance_number == 2 for header, _ in received):
            tries += len(received) == 1
            raise KeyError("a bug")
        return real(connection, received, **more)

    monkeypatch.setattr(ingest_module, "record_instances", fail)
    for number in (1, 2, 3):
        spooled(spool, instance(number=number))
    assert ingest.drain() == Ingested(recorded=2, quarantined=1)
    assert tries == 2
    assert rows(engine, "select reason from quarantined") == [("could not be recorded twice: KeyError",)]
    assert len(list(storage.quarantine.iterdir())) == 1


@pytest.mark.parametrize("kind", ["folder", "stranger"])
def test_what_is_no_file_of_ours_in_the_spool_stops_nothing(
    take_in: Callable[[], Ingested], engine: Engine, spool: Spool, storage: Storage, kind: str
) -> None:
    odd = storage.spool("main") / "new" / "00000000000000000001-odd.dcm"
    if kind == "folder":
        odd.mkdir()
    else:
        odd.write_bytes(b"")
    spooled(spool, instance())
    assert take_in() == Ingested(recorded=1, quarantined=1)
    assert spool.waiting() == []
    assert (storage.quarantine / odd.name).exists()


def test_of_two_instances_under_one_uid_the_first_counts_whichever_is_read_first(
    take_in: Callable[[], Ingested], engine: Engine, spool: Spool
) -> None:
    first = instance(PixelData=bytes(40_000_000), Rows=5000, Columns=4000)  # takes longer to hash
    second = instance(SeriesDescription="second")
    spooled(spool, first)
    spooled(spool, second)
    assert take_in() == Ingested(recorded=1, repeated=1)
    assert rows(engine, "select size_bytes > 40000000, counts from instances order by id") == [
        (True, True),
        (False, False),
    ]


def test_a_header_that_hangs_its_reader_is_quarantined_and_others_flow(
    engine: Engine, spool: Spool, ingest_with: Callable[[HeaderReaders], Ingest]
) -> None:
    spooled(spool, slow_header())
    spooled(spool, instance())
    with HeaderReaders(deadline_s=5.0) as readers:
        assert ingest_with(readers).drain() == Ingested(recorded=1, quarantined=1)
    assert "within 5 s" in str(rows(engine, "select reason from quarantined")[0][0])


def from_peer(spool: Spool, peer: str, dataset: Dataset | bytes) -> None:
    data = dataset if isinstance(dataset, bytes) else encoded(dataset)
    spool.receive(
        AssociationInfo(peer, "NEUROTRIAGE", "127.0.0.1"),
        sop_class_uid=MRImageStorage,
        sop_instance_uid="1.2.3.1.1" if isinstance(dataset, bytes) else str(dataset.SOPInstanceUID),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        data_set=data,
    )


def test_slow_files_of_one_peer_hold_up_no_study_of_another(
    engine: Engine, spool: Spool, ingest_with: Callable[[HeaderReaders], Ingest]
) -> None:
    """More slow ones than there are readers, all of them first."""
    poison = slow_header()
    for _ in range(12):
        from_peer(spool, "SLOW", poison)
    good = [instance("1.2.9", number) for number in range(1, 31)]
    for image in good:
        from_peer(spool, "GOOD", image)
    count = "select count(*) from instances"
    with HeaderReaders(deadline_s=60.0) as readers:
        ingest = ingest_with(readers)
        begun = time.monotonic()
        while rows(engine, count) != [(len(good),)] or time.monotonic() - begun <= OTHER_PEER_S:
            ingest.step(0.05)
            peers, now = {("GOOD", "127.0.0.1")}, datetime.now(UTC)
            assert len(readers.pids) <= READERS + SLOW_READERS
        assert len(spool.waiting()) == 12  # not one of the slow ones is through
        assert ingest.backlog().behind_s(peers, now) <= OTHER_PEER_S
        assert ingest.backlog().behind_s({("SLOW", "127.0.0.1")}, now) > OTHER_PEER_S
        until(lambda: assemble(engine, 0.1, ingest.backlog()) == [1], 10)


def test_a_study_is_not_frozen_while_a_file_of_its_peer_waits(
    engine: Engine, spool: Spool, ingest: Ingest
) -> None:
    from_peer(spool, "ONE", instance("1.2.3"))
    from_peer(spool, "OTHER", instance("1.2.4"))
    ingest.drain()
    with engine.begin() as connection:
        connection.execute(text("update studies set last_received_at = last_received_at - interval '100 s'"))
    one, now = ("ONE", "127.0.0.1"), datetime.now(UTC)
    # What came 50 s ago and is not read yet may be of the study that was quiet before for 50 s.
    assert len(assemble(engine, 60.0, Backlog(now, {one: now - timedelta(seconds=50)}))) == 1
    assert rows(engine, "select study_instance_uid from studies where state = 'quiet'") == [("1.2.4",)]
    from_peer(spool, "ONE", instance("1.2.5"))
    ingest._list_at = 0.0
    ingest._list_spool()
    assert ingest.backlog().oldest.keys() == {one}
    ingest.drain()
    assert ingest.backlog().oldest == {}
    assert len(assemble(engine, 60.0, ingest.backlog())) == 1
    assert rows(engine, "select study_instance_uid from studies where state = 'open'") == [("1.2.5",)]


def test_a_header_that_kills_its_reader_twice_is_refused_and_the_next_is_read(
    engine: Engine, spool: Spool, ingest_with: Callable[[HeaderReaders], Ingest]
) -> None:
    spooled(spool, slow_header())
    killed: set[int] = set()
    with HeaderReaders(readers=1, slice_s=30.0, deadline_s=60.0) as readers:
        ingest = ingest_with(readers)
        done = Ingested()
        while done != Ingested(quarantined=1):
            done += ingest.step(0.5)
            for pid in set(readers.pids) - killed:
                if readers._fast[0].ready and readers._fast[0].request is not None:
                    os.kill(pid, signal.SIGKILL)
                    killed.add(pid)
        assert len(killed) == 2
        spooled(spool, instance())
        assert ingest.drain() == Ingested(recorded=1)
    assert "died of it" in str(rows(engine, "select reason from quarantined"))


def test_where_no_reader_starts_no_file_is_blamed(
    engine: Engine,
    spool: Spool,
    ingest_with: Callable[[HeaderReaders], Ingest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spooled(spool, instance())
    with HeaderReaders() as readers:
        ingest = ingest_with(readers)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", "/bin/false")
            with pytest.raises(Unavailable, match="cannot be started"):
                ingest.drain()
        assert ingest.drain() == Ingested(recorded=1)
    assert rows(engine, "select * from quarantined") == []


def test_a_header_without_end_of_memory_is_refused(
    take_in: Callable[[], Ingested], engine: Engine, spool: Spool
) -> None:
    """An element that announces 4 GB and sequences without bottom: an answer, not a crash."""
    announced = struct.pack("<HH2sxxL", 0x0009, 0x1010, b"OB", 0xFFFFFFF0) + bytes(100)
    spooled(spool, announced)
    spooled(spool, b"\x08\x00\x10\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 5000)
    assert take_in() == Ingested(quarantined=2)
    assert set(rows(engine, "select code from quarantined")) == {("not_dicom",)}


class PowerCut(BaseException):
    """The process ends here."""


@pytest.mark.parametrize(
    ("moment", "time"), [("keep", 3), ("statement", 3), ("statement", 9), ("commit", 1), ("unlink", 3)]
)
def test_interrupted_at_any_moment_nothing_is_lost_and_nothing_doubled(
    moment: str,
    time: int,
    take_in: Callable[[], Ingested],
    engine: Engine,
    storage: Storage,
    spool: Spool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = [instance(number=number) for number in range(1, 6)]
    for image in images:
        spooled(spool, image)
    calls = 0

    def cut(real: Callable[..., object]) -> Callable[..., object]:
        def counted(*arguments: object, **more: object) -> object:
            nonlocal calls
            calls += 1
            if calls == time:
                raise PowerCut
            return real(*arguments, **more)

        return counted

    with monkeypatch.context() as patch:
        if moment == "unlink":
            patch.setattr(Path, "unlink", cut(Path.unlink))
        elif moment == "keep":
            patch.setattr(store_module, "_link", cut(store_module._link))
        else:
            name = {"statement": "before_cursor_execute", "commit": "commit"}[moment]
            event.listen(engine, name, cut(lambda *_: None))
        with pytest.raises(PowerCut):
            take_in()
    take_in()
    assert spool.waiting() == []
    assert sorted(data_set_of(path) for path in stored(storage)) == sorted(encoded(image) for image in images)
    uids = [str(image.SOPInstanceUID) for image in images]
    assert rows(engine, "select sop_instance_uid from instances order by 1") == [(uid,) for uid in uids]


def test_a_damaged_file_in_the_store_is_replaced_when_its_instance_comes_again(
    take_in: Callable[[], Ingested], storage: Storage, spool: Spool
) -> None:
    spooled(spool, instance())
    take_in()
    (file,) = stored(storage)
    file.write_bytes(file.read_bytes()[:300])
    spooled(spool, instance())
    take_in()
    assert data_set_of(file) == encoded(instance())


def test_while_postgres_is_down_the_files_stay(
    storage: Storage, spool: Spool, readers: HeaderReaders
) -> None:
    for number in range(1, 200):
        spooled(spool, instance(number=number))
    nobody = create_engine("postgresql+psycopg2://x@127.0.0.1:1/x")
    ingest = Ingest(nobody, storage, spool, readers, Quarantine(nobody, storage), limits=DeliverySettings())
    for _ in range(5):
        with pytest.raises(Unavailable, match="Postgres does not answer"):
            ingest.drain()
    assert len(spool.waiting()) == 199
    assert len(ingest._read) <= 2 * GROUP + READERS  # the rest is not read before it is of use


def test_without_tables_the_files_stay_and_the_words_say_why(
    engine: Engine, ingest: Ingest, spool: Spool
) -> None:
    spooled(spool, instance())
    with engine.begin() as connection:
        connection.execute(text("alter table studies rename to hidden"))
    try:
        with pytest.raises(Unavailable, match="UndefinedTable"):
            ingest.drain()
    finally:
        with engine.begin() as connection:
            connection.execute(text("alter table hidden rename to studies"))
    assert ingest.drain() == Ingested(recorded=1)


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_every_real_instance_becomes_a_row_or_is_quarantined_with_a_reason(
    take_in: Callable[[], Ingested], engine: Engine, storage: Storage, spool: Spool, data_dir: Path
) -> None:
    folders: dict[str, str] = {}
    for file in real_files(data_dir / "dicom"):
        name = spool.receive(
            PARTIES,
            sop_class_uid=file.sop_class_uid,
            sop_instance_uid=file.sop_instance_uid,
            transfer_syntax_uid=file.transfer_syntax_uid,
            data_set=file.data_set,
        )
        folders[f"{name}.dcm"] = file.path.parent.name
    done = take_in()
    assert done.recorded + done.repeated + done.quarantined == len(folders)
    assert spool.waiting() == []
    reasons = rows(engine, "select name, code from quarantined")
    assert {folders[str(name)]: code for name, code in reasons} == {"htj2k_no_patient": "no_study"}
    time.sleep(0.05)
    while assemble(engine, 0.02):
        pass  # many studies are frozen in several steps
    conflicts = rows(
        engine,
        "select study_instance_uid from studies s join revisions r on r.study_id = s.id "
        "where conflict is not null",
    )
    assert conflicts == [("2.25.123",)]  # odd/same_study_two_patients


def test_an_ingester_records_what_came_through_every_spool(
    engine: Engine, storage: Storage, readers: HeaderReaders, quarantine: Quarantine
) -> None:
    ingest = Ingest(engine, storage, Spools(storage), readers, quarantine, limits=DeliverySettings())
    assert ingest.drain() == Ingested()
    for number, name in enumerate(("main", "import", "stow"), 1):
        spooled(Spool(storage, name, min_free_bytes=0), instance(number=number))
    assert ingest.drain() == Ingested(recorded=3)
    assert Spools(storage).waiting() == []


def test_a_full_quarantine_loses_the_oldest_bytes_and_no_row(
    engine: Engine, storage: Storage, tmp_path: Path
) -> None:
    quarantine = Quarantine(engine, storage, max_bytes=250)
    for number in range(4):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(bytes(100))
        reason = Reason(ReasonCode.NOT_DICOM, "not a DICOM file")
        quarantine.set_aside("instance", path, reason, reception_by_file(path))
    assert sorted(path.name for path in storage.quarantine.iterdir()) == ["2.dcm", "3.dcm"]
    told = rows(engine, "select name, path from quarantined order by name")
    assert told == [
        ("0.dcm", ""),
        ("1.dcm", ""),
        ("2.dcm", "quarantine/2.dcm"),
        ("3.dcm", "quarantine/3.dcm"),
    ]


def test_before_the_spool_is_listed_nothing_is_certain(ingest: Ingest) -> None:
    """Or what lies there since before a restart would count as recorded."""
    now = datetime.now(UTC)
    assert ingest.backlog().behind_s(set(), now) > 365 * 24 * 3600
    ingest.drain()
    assert ingest.backlog().behind_s(set(), now) < 60
