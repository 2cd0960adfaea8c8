"""The whole way in, as a real process: killed, without Postgres, without a broker."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from pydicom.dataset import Dataset
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from bench.peers.processes import family
from db.engine import connect
from db.tables import Base
from dicom_listener import ingester as ingester_module
from dicom_listener import service as intake_module
from dicom_listener.dispatch import Swept, sweep
from dicom_listener.ingest.ingest import Ingest
from dicom_listener.ingester import ThreadEnded
from dicom_listener.server import Listener
from dicom_listener.service import ListenerEnded, run
from dicom_listener.spool import Spool
from neurotriage.cli import app
from neurotriage.core.errors import Unavailable
from neurotriage.core.priority import Priority
from neurotriage.core.process.doorbell import celery_app
from neurotriage.core.settings import Settings
from neurotriage.core.storage import Storage
from neurotriage.embedded import EmbeddedPostgres, EmbeddedValkey
from tests.conftest import until
from tests.db.rows import analysed, claimed, put_into, ready_revision, written
from tests.listener.conftest import associate, data_set_of, encoded, instance, send, status_of
from tests.listener.intake_process import IntakeProcess

NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture(scope="module")
def broker_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = EmbeddedValkey(tmp_path_factory.mktemp("valkey"), durable=False)
    yield server.start()
    server.remove()


def transfer(intake: IntakeProcess, images: list[Dataset], *, kill_after_s: float) -> list[Dataset]:
    """Send while the receiver is killed; what was answered 0x0000."""
    association = associate(intake.port)
    assert association.is_established
    killer = threading.Timer(kill_after_s, intake.end, (signal.SIGKILL,))
    killer.start()
    answered = []
    for image in images:
        if not association.is_established or status_of(association, image) != 0:
            break
        answered.append(image)
    killer.join()
    association.abort()
    return answered


KILLS = 20


@pytest.mark.scenario
def test_killed_at_any_moment_of_a_transfer_every_answered_instance_is_there_once(
    engine: Engine, database_url: str, settings: Settings, ingest: Ingest
) -> None:
    """Twenty kills, each at another moment of a transfer; some hit ingest or recovery as well."""
    root = settings.storage.root
    with_rows = changed(settings, database={"url": database_url}, broker={"url": NOWHERE})
    spool_only = changed(with_rows, database={"url": "postgresql+psycopg2://nobody@127.0.0.1:1/none"})
    images = [instance(number=number, PixelData=os.urandom(2 * 64 * 64)) for number in range(1, 401)]
    waiting, answered = list(images), []
    moments = random.Random(20)
    kills = 0
    while kills < KILLS or len(answered) <= KILLS:  # a busy machine answers little before it is killed
        assert kills < 5 * KILLS
        intake = IntakeProcess(spool_only if kills % 2 else with_rows)
        kills += 1
        done = transfer(intake, waiting, kill_after_s=moments.uniform(0.02, 0.2))
        answered += done
        waiting = waiting[len(done) :]
    spool = Spool(Storage(root), "main", min_free_bytes=0)
    spool.recover()
    ingest.drain()
    spool.close()
    files = {data_set_of(path) for path in (root / "store").rglob("*.dcm")}
    assert {encoded(image) for image in answered} <= files
    assert len(files) <= len(answered) + kills  # whole, but killed before the answer
    with engine.connect() as connection:
        uids = connection.execute(text("select sop_instance_uid from instances")).scalars().all()
    assert len(uids) == len(set(uids)) == len(files)
    assert list((root / "spool" / "main" / "tmp").iterdir()) == []


@pytest.mark.scenario
def test_a_terminated_intake_leaves_no_process_behind(
    engine: Engine, database_url: str, settings: Settings
) -> None:
    intake = IntakeProcess(changed(settings, database={"url": database_url}, broker={"url": NOWHERE}))
    send(intake.port, [instance()])
    until(lambda: count(engine, "instances") == 1)
    children = [
        child
        for task in Path(f"/proc/{intake.process.pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
    assert children
    assert intake.end(signal.SIGTERM) == 0
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


@pytest.fixture
def in_thread() -> Iterator[Callable[[Settings], int]]:
    """Run the intake in a thread of the test; its port."""
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def start(settings: Settings) -> int:
        ports: list[int] = []
        started = threading.Event()

        def note(port: int) -> None:
            ports.append(port)
            started.set()

        thread = threading.Thread(target=run, args=(settings, stop, note), daemon=True)
        threads.append(thread)
        thread.start()
        assert started.wait(10)
        return ports[0]

    yield start
    stop.set()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def changed(settings: Settings, **sections: dict[str, object]) -> Settings:
    document = settings.model_dump()
    for section, fields in sections.items():
        document[section] |= fields
    return Settings.model_validate(document)


def count(engine: Engine, table: str) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text(f"select count(*) from {table}")).scalar_one())  # noqa: S608


@pytest.mark.scenario
def test_a_study_sent_becomes_one_revision_and_a_ring(
    in_thread: Callable[[Settings], int],
    engine: Engine,
    database_url: str,
    broker_url: str,
    settings: Settings,
) -> None:
    here = changed(
        settings, database={"url": database_url}, broker={"url": broker_url}, assembly={"quiet_s": 3}
    )
    port = in_thread(here)
    assert send(port, [instance(number=number) for number in range(1, 11)]) == [0] * 10
    until(lambda: count(engine, "revisions") == 1)
    with celery_app(here).connection_for_read() as connection:
        message = connection.SimpleQueue("analysis").get(timeout=10)
        assert message.headers["task"] == "neurotriage.analyse"
        assert message.payload[0] == [1]
        message.ack()
    with engine.connect() as connection:
        assert connection.execute(text("select state from studies")).scalar_one() == "quiet"
    assert count(engine, "revisions") == 1
    assert count(engine, "revision_instances") == 10


@pytest.mark.scenario
def test_while_postgres_is_down_images_are_accepted_and_recorded_when_it_is_back(
    in_thread: Callable[[Settings], int], tmp_path: Path, settings: Settings
) -> None:
    postgres = EmbeddedPostgres(tmp_path / "postgres", durable=False)
    url = postgres.start()
    own = connect(url)
    Base.metadata.create_all(own)
    port = in_thread(changed(settings, database={"url": url}, broker={"url": NOWHERE}))
    try:
        assert send(port, [instance(number=1)]) == [0]
        until(lambda: count(own, "instances") == 1)
        postgres.stop()
        assert send(port, [instance(number=number) for number in range(2, 8)]) == [0] * 6
        time.sleep(1.5)
        postgres.start()
        until(lambda: count(own, "instances") == 7)
        until(lambda: count(own, "revisions") >= 1)
    finally:
        own.dispose()
        postgres.remove()


class Ended(BaseException):
    """Ends a thread past every ``except Exception``."""


@pytest.mark.parametrize(
    ("part", "thread"),
    [
        ("Ingest", "ingest"),
        ("Assembler", "assembly"),
        ("sweep", "sweep"),
        ("decide", "commitments"),
        ("Reporter", "reports"),
    ],
)
def test_a_thread_that_ends_by_itself_ends_the_ingester(
    settings: Settings, database_url: str, part: str, thread: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_: object, **__: object) -> None:
        raise Ended

    monkeypatch.setattr(ingester_module, part, end)
    here = changed(settings, database={"url": database_url}, broker={"url": NOWHERE})
    stop = threading.Event()
    with structlog.testing.capture_logs() as logs, pytest.raises(ThreadEnded, match=thread):
        ingester_module.run(here, stop)
    assert stop.is_set()  # the other parts have stopped as well
    last = next(line for line in reversed(logs) if line["log_level"] == "critical")
    assert last["event"] == "thread_ended"
    assert last["threads"] == [thread]


def test_a_listener_that_ends_by_itself_ends_the_intake(
    settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def end(*_: object) -> None:
        raise Ended

    monkeypatch.setattr(Listener, "_accept", end)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    here = changed(settings, database={"url": database_url}, broker={"url": NOWHERE})
    with pytest.raises(ListenerEnded):
        run(here, threading.Event())


@pytest.mark.scenario
def test_a_killed_ingester_is_started_again_and_images_are_received_meanwhile(
    engine: Engine, database_url: str, settings: Settings
) -> None:
    intake = IntakeProcess(changed(settings, database={"url": database_url}, broker={"url": NOWHERE}))
    send(intake.port, [instance()])
    until(lambda: count(engine, "instances") == 1)
    (ingester,) = ingesters(intake)
    os.kill(ingester, signal.SIGKILL)
    assert send(intake.port, [instance(number=number) for number in range(2, 5)]) == [0] * 3
    until(lambda: count(engine, "instances") == 4)
    (again,) = ingesters(intake)
    assert again != ingester
    intake.end(signal.SIGKILL)
    until(lambda: not Path(f"/proc/{again}").exists())


@pytest.mark.scenario
def test_recording_and_reading_headers_give_way_to_receiving(
    engine: Engine, database_url: str, settings: Settings
) -> None:
    intake = IntakeProcess(changed(settings, database={"url": database_url}, broker={"url": NOWHERE}))
    try:
        send(intake.port, [instance()])
        until(lambda: count(engine, "instances") == 1)
        pids = family(intake.process.pid or 0)
        of_listener, *of_others = (os.getpriority(os.PRIO_PROCESS, pid) for pid in pids)
        assert len(of_others) >= 2  # the ingester and a child of it
        assert min(of_others) > of_listener
    finally:
        intake.end(signal.SIGKILL)


def ingesters(intake: IntakeProcess) -> list[int]:
    """The process ids of the ingesters of an intake that have not ended."""
    tasks = Path(f"/proc/{intake.process.pid}/task").iterdir()
    children = [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
    return [
        pid for pid in children if b"dicom_listener.ingester" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def test_the_command_tells_its_service_that_a_part_has_ended(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_: object) -> None:
        raise ListenerEnded

    monkeypatch.setattr(intake_module, "run", end)
    monkeypatch.setenv("NEUROTRIAGE__STORAGE__ROOT", str(settings.storage.root))
    monkeypatch.setenv("NEUROTRIAGE_CONFIG", os.devnull)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert CliRunner().invoke(app, ["listen"]).exit_code == 70


def test_one_part_that_fails_stops_no_other_and_no_loop() -> None:
    """Every kind of error, again and again; the freezing of studies is reached each time."""
    stop, frozen = threading.Event(), 0
    errors = iter([Unavailable("x"), OSError(28, "No space left on device"), KeyError("x")])

    def fail() -> None:
        raise next(errors)

    def freeze() -> None:
        nonlocal frozen
        frozen += 1
        if frozen == 3:
            stop.set()

    ingester_module._repeat("ingest", (fail, freeze), stop, lambda: None)
    assert frozen == 3


def test_a_sweep_rings_again_for_what_waits(
    engine: Engine, database_url: str, broker_url: str, settings: Settings
) -> None:
    here = changed(settings, broker={"url": broker_url}, worker={"sweep_s": 60})
    with engine.begin() as connection:
        connection.execute(
            text(
                "insert into studies (study_instance_uid, state, patient_id, issuer_of_patient_id,"
                " accession_number, study_date, description, first_received_at, last_received_at)"
                " values ('1.2', 'quiet', '', '', '', '', '', now(), now())"
            )
        )
        connection.execute(
            text(
                "insert into revisions (study_id, number, state, digest, completed_by, attempt) values"
                " (1, 1, 'ready', '', 'quiet', 0), (1, 2, 'ready', '', 'quiet', 3),"
                " (1, 3, 'ready', '', 'quiet', 4)"
            )
        )
    app = celery_app(here)
    # The fourth attempt is the one that writes the page; after it, the revision is abandoned.
    assert sweep(engine, app, here) == Swept(revisions=2, abandoned=1)
    assert sweep(engine, app, here) == Swept()
    with engine.begin() as connection:
        connection.execute(text("update revisions set rung_at = rung_at - interval '1 minute'"))
    assert sweep(engine, app, here) == Swept(revisions=2)


@pytest.mark.parametrize(("full", "rung"), [(999, ["late", "soon"]), (1000, ["soon"]), (2000, [])])
def test_a_full_queue_keeps_out_destinations_without_urgent_results_only(
    engine: Engine, database_url: str, broker_url: str, settings: Settings, full: int, rung: list[str]
) -> None:
    here = changed(settings, broker={"url": broker_url}, worker={"sweep_s": 60})
    with engine.begin() as connection:
        for study, name in (("1.2.3", "late"), ("1.2.4", "soon")):
            held = claimed(connection, ready_revision(connection, study=study))
            analysed(connection, held, written(held.study_id, name))
        put_into(connection, Priority.URGENT, study="1.2.4")
    app = celery_app(here)
    with app.connection_for_write() as connection:
        queue = connection.SimpleQueue("delivery")
        queue.clear()
        for _ in range(full):
            queue.put({})
    swept = sweep(engine, app, here)
    with app.connection_for_write() as connection:
        connection.SimpleQueue("delivery").clear()
    assert swept == Swept(destinations=len(rung))
    with engine.connect() as connection:
        told = text("select destination from destination_leases where rung_at is not null order by 1")
        assert connection.execute(told).scalars().all() == rung


def test_without_a_broker_a_sweep_says_so_and_changes_nothing(engine: Engine, settings: Settings) -> None:
    here = changed(settings, broker={"url": NOWHERE})
    with pytest.raises(Unavailable, match="broker"):
        sweep(engine, celery_app(here), here)
