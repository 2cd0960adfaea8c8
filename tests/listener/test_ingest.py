"""From the spool to rows and the store, with a real Postgres and a real child process."""

import os
import signal
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from sqlalchemy import Engine, create_engine, event, text

from dicom_listener import ingest as ingest_module
from dicom_listener.assembly import assemble
from dicom_listener.header_reader import HeaderReader
from dicom_listener.ingest import Ingested, ingest
from dicom_listener.spool import Spool
from neurotriage.core.errors import Refused, Unavailable
from neurotriage.core.headers import MANUFACTURER, InstanceHeader
from neurotriage.core.storage import Storage
from tests.listener.conftest import PARTIES, data_set_of, encoded, instance, real_files, spooled

Rows = list[tuple[object, ...]]


@pytest.fixture
def take_in(engine: Engine, storage: Storage, spool: Spool, reader: HeaderReader) -> Callable[[], Ingested]:
    return lambda: ingest(engine, storage, spool, reader)


def rows(engine: Engine, query: str) -> Rows:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


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
    assert "2 different patients" in str(rows(engine, "select conflict from studies")[0][0])


def test_our_own_results_never_open_a_study(
    take_in: Callable[[], Ingested], engine: Engine, spool: Spool
) -> None:
    spooled(spool, instance(Manufacturer=MANUFACTURER))
    assert take_in() == Ingested(recorded=1)
    time.sleep(0.05)
    assert assemble(engine, 0.02) == []
    assert rows(engine, "select state from studies") == [("quiet",)]


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


def test_a_value_that_fits_into_no_column_costs_its_instance_and_others_flow(
    engine: Engine, storage: Storage, spool: Spool
) -> None:
    class Exaggerating(HeaderReader):
        def read(self, path: Path) -> InstanceHeader:
            header = super().read(path)
            return replace(header, instance_number=2**70) if header.instance_number == 2 else header

    names = [spooled(spool, instance(number=number)) for number in (1, 2, 3)]
    with Exaggerating() as reader:
        assert ingest(engine, storage, spool, reader) == Ingested(recorded=2, quarantined=1)
    assert rows(engine, "select instance_number from instances order by 1") == [(1,), (3,)]
    assert rows(engine, "select name, code from quarantined") == [(f"{names[1]}.dcm", "not_dicom")]


def test_a_header_that_hangs_its_reader_is_quarantined_and_others_flow(
    engine: Engine, storage: Storage, spool: Spool
) -> None:
    spooled(spool, slow_header())
    spooled(spool, instance())
    with HeaderReader(deadline_s=5.0) as reader:
        assert ingest(engine, storage, spool, reader) == Ingested(recorded=1, quarantined=1)
    assert "within 5 s" in str(rows(engine, "select reason from quarantined")[0][0])


def test_a_header_that_kills_its_reader_twice_is_refused_and_the_next_is_read(
    spool: Spool, reader: HeaderReader
) -> None:
    spooled(spool, slow_header())
    spooled(spool, instance())
    poison, good = spool.waiting()
    reader.read(good)  # the child runs
    killed: set[int] = set()

    def kill_each_child() -> None:
        while len(killed) < 2:
            pid = reader.pid
            if pid is not None and pid not in killed:
                time.sleep(0.3)
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
            time.sleep(0.02)

    killer = threading.Thread(target=kill_each_child)
    killer.start()
    with pytest.raises(Refused, match="died of it"):
        reader.read(poison)
    killer.join()
    assert reader.read(good).sop_instance_uid == "1.2.3.1.1"


def test_a_header_without_end_of_memory_is_refused(spool: Spool, reader: HeaderReader) -> None:
    """An element that announces 4 GB and sequences without bottom: an answer, not a crash."""
    announced = struct.pack("<HH2sxxL", 0x0009, 0x1010, b"OB", 0xFFFFFFF0) + bytes(100)
    spooled(spool, announced)
    spooled(spool, b"\x08\x00\x10\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 5000)
    for path in spool.waiting():
        with pytest.raises(Refused):
            reader.read(path)


class PowerCut(Exception):
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
            patch.setattr(ingest_module, "_keep", cut(ingest_module._keep))
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


def test_while_postgres_is_down_the_files_stay(storage: Storage, spool: Spool, reader: HeaderReader) -> None:
    spooled(spool, instance())
    nobody = create_engine("postgresql+psycopg2://x@127.0.0.1:1/x")
    with pytest.raises(Unavailable):
        ingest(nobody, storage, spool, reader)
    assert len(spool.waiting()) == 1


def test_refused_contexts_become_rows_that_count(
    take_in: Callable[[], Ingested], engine: Engine, spool: Spool
) -> None:
    for _ in range(2):
        spool.note_refused(PARTIES, [("1.2.3.4", ["1.2.840.10008.1.2.1.99"])])
    (spool.refused()[0].parent / "0.json").write_text("half a no")
    assert take_in() == Ingested(refused_contexts=2)
    query = "select peer_ae_title, sop_class_uid, transfer_syntaxes, times from refused_contexts"
    assert rows(engine, query) == [("SENDER", "1.2.3.4", "1.2.840.10008.1.2.1.99", 2)]
    assert spool.refused() == []


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
    assert assemble(engine, 0.02)
    conflicts = rows(engine, "select study_instance_uid from studies where conflict is not null")
    assert conflicts == [("2.25.123",)]  # odd/same_study_two_patients
