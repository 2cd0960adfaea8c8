"""What is read from tables and disk, and what is said of what cannot be read."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, text

from bench.status import fill
from db.delivery import deliveries
from db.engine import connect
from db.operations import arrivals, destinations, flow, queue, sizes
from db.operations.arrivals import PeerArrivals
from db.operations.destinations import DestinationLoad
from db.operations.flow import Spread
from db.operations.queue import QueuedClass
from db.studies.cancel import cancel
from dicom_listener.admission.certificates import TestAuthority
from dicom_listener.spool import AssociationInfo, open_spool
from neurotriage.core.priority import Priority
from neurotriage.core.settings import ListenerSettings, ListenerTls, Settings, StorageSettings
from neurotriage.core.states import DeliveryState
from neurotriage.core.storage import Storage
from neurotriage.operations import gather
from neurotriage.operations.facts import Section
from neurotriage.operations.reading import Wanted, wanted
from tests.db.rows import (
    analysed,
    backlog_waits,
    claimed,
    expire_leases,
    put_into,
    ready_revision,
    receive,
    sending_right,
    stored,
    written,
)

OF_POSTGRES = set(Section) - {Section.DISK}


def _minutes_ago(connection: Connection, table: str, column: str, minutes: float) -> None:
    connection.execute(
        text(f"update {table} set {column} = now() - make_interval(secs => :s)"),  # noqa: S608
        {"s": 60 * minutes},
    )


def test_the_queue_is_told_by_class_with_the_age_of_its_oldest(engine: Engine) -> None:
    with engine.begin() as connection:
        ready_revision(connection, study="1.2.3")
        put_into(connection, Priority.URGENT, study="1.2.3")
        _minutes_ago(connection, "revisions", "waiting_since", 5)
        claimed(connection, ready_revision(connection, study="1.2.4"))
        backlog_waits(connection, 3)
        urgent, routine, backlog = queue.queue(connection)
    assert (urgent.priority, urgent.waiting, urgent.analysing) == (Priority.URGENT, 1, 0)
    assert urgent.oldest_waiting_s == pytest.approx(300, abs=10)
    assert routine == QueuedClass(Priority.ROUTINE, 0, None, 1)
    assert (backlog.waiting, backlog.analysing) == (3, 0)


def test_a_study_whose_worker_was_lost_waits_again(engine: Engine) -> None:
    with engine.begin() as connection:
        claimed(connection, ready_revision(connection))
        expire_leases(connection)
        _, routine, _ = queue.queue(connection)
    assert (routine.waiting, routine.analysing) == (1, 0)


def _one_study_through(connection: Connection, study: str = "1.2.3") -> None:
    """Received 10 minutes ago, ready 60 s later, analysed after 30 s, stored after 20 s, found after 5 s."""
    number = int(study.rpartition(".")[2])
    analysed(
        connection, claimed(connection, ready_revision(connection, study=study)), written(number, "pacs")
    )
    stored(connection, sending_right(connection))
    begun = datetime.now(UTC) - timedelta(minutes=10)
    for statement, after_s in (
        ("update studies set first_received_at = :at, last_received_at = :at", 0),
        ("update instances set received_at = :at", 0),
        ("update revisions set ready_at = :at", 60),
        ("update analyses set started_at = :at", 80),
        ("update revisions set ended_at = :at", 90),
        ("update deliveries set stored_at = :at", 110),
        ("update deliveries set found_at = :at, proof_due_at = null", 115),
    ):
        connection.execute(text(statement), {"at": begun + timedelta(seconds=after_s)})


def test_what_went_through_is_counted_and_timed_hop_by_hop(engine: Engine) -> None:
    with engine.begin() as connection:
        _one_study_through(connection)
        told = flow.flow(connection)
    hour = told.last_hour
    assert hour == told.last_day
    assert (hour.studies_received, hour.images_received, hour.studies_analysed) == (1, 2, 1)
    assert (hour.studies_failed, hour.studies_delivered, told.analysis_s) == (0, 1, 10.0)
    assert {hop.name: hop.last_hour for hop in told.hops} == {
        "image_to_ready": Spread(1, 60.0, 60.0),
        "ready_to_analysed": Spread(1, 30.0, 30.0),
        "analysed_to_delivered": Spread(1, 20.0, 20.0),
        "delivered_to_proven": Spread(1, 5.0, 5.0),
    }


def test_what_is_older_than_the_window_is_not_in_it(engine: Engine) -> None:
    with engine.begin() as connection:
        _one_study_through(connection)
        for column in ("first_received_at", "last_received_at"):
            _minutes_ago(connection, "studies", column, 90)
        _minutes_ago(connection, "instances", "received_at", 90)
        _minutes_ago(connection, "revisions", "ended_at", 80)
        _minutes_ago(connection, "deliveries", "stored_at", 70)
        told = flow.flow(connection)
    assert told.last_hour == flow.Counts(0, 0, 0, 0, 0)
    assert told.last_day == flow.Counts(1, 2, 1, 0, 1)
    assert all(hop.last_hour is None for hop in told.hops)


def test_a_study_of_which_an_object_waits_is_not_delivered(engine: Engine) -> None:
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection))
        analysed(connection, held, written(1, "pacs"), written(2, "other"))
        stored(connection, sending_right(connection, "pacs"))
        assert flow.flow(connection).last_hour.studies_delivered == 0
        stored(connection, sending_right(connection, "other"))
        assert flow.flow(connection).last_hour.studies_delivered == 1


def test_the_times_of_the_backlog_are_left_out_and_its_studies_counted(engine: Engine) -> None:
    with engine.begin() as connection:
        _one_study_through(connection)
        put_into(connection, Priority.BACKLOG)
        told = flow.flow(connection)
    assert told.last_hour.studies_delivered == 1
    assert all(hop.last_hour is None for hop in told.hops)


def _only(found: tuple[DestinationLoad, ...]) -> DestinationLoad:
    (load,) = found
    return load


def test_the_reason_that_somebody_gave_for_a_cancelled_study_is_no_answer(engine: Engine) -> None:
    with engine.begin() as connection:
        analysed(connection, claimed(connection, ready_revision(connection)), written(1, "pacs"))
        (study_id,) = connection.execute(text("select id from studies")).scalars()
        cancel(connection, study_id, made_by="jane@host", reason="images of DOE^JOHN")
        assert deliveries.retry(connection, study_ids=[study_id]) == 1
        told = _only(destinations.destinations(connection))
    assert (told.objects_waiting, told.last_answer) == (1, "")


def test_a_destination_is_told_with_what_waits_and_its_last_answer(engine: Engine) -> None:
    with engine.begin() as connection:
        analysed(
            connection,
            claimed(connection, ready_revision(connection)),
            *(written(number, "pacs") for number in (1, 2, 3, 4)),
        )
        right = sending_right(connection)
        refused, busy, kept, _ = deliveries.due(connection, "pacs")
        settle = deliveries.settle
        settle(connection, right, refused, DeliveryState.REFUSED, "SOP class not supported")
        settle(connection, right, kept, DeliveryState.STORED, "stored")
        settle(connection, right, busy, DeliveryState.WAITING, "out of resources", retry_in_s=30)
        deliveries.alarm(connection, "pacs", [busy], after_s=0)
        _minutes_ago(connection, "deliveries", "waiting_since", 2)
        told = _only(destinations.destinations(connection))
    assert (told.name, told.objects_waiting, told.last_answer) == ("pacs", 2, "out of resources")
    assert told.oldest_waiting_s == pytest.approx(120, abs=10)
    assert (told.objects_alarmed, told.objects_unproven, told.objects_ended_last_day) == (1, 0, 1)
    assert (told.objects_stored_last_hour, told.objects_stored_last_day) == (1, 1)
    assert told.alarmed_since is not None


def test_what_is_held_is_told_apart_and_its_study_is_not_delivered(engine: Engine) -> None:
    with engine.begin() as connection:
        held = replace(written(1, "pacs"), held=frozenset({"pacs"}))
        analysed(connection, claimed(connection, ready_revision(connection)), held, written(2, "pacs"))
        stored(connection, sending_right(connection))
        told = _only(destinations.destinations(connection))
        assert flow.flow(connection).last_day.studies_delivered == 0
    assert (told.objects_held, told.objects_waiting, told.oldest_waiting_s) == (1, 0, None)


def test_what_a_newer_revision_cancelled_is_no_end_to_look_at(engine: Engine) -> None:
    with engine.begin() as connection:
        analysed(connection, claimed(connection, ready_revision(connection)), written(1, "pacs"))
        sending_right(connection)
        connection.execute(
            text(
                "update deliveries set state = 'given_up', "
                "last_status = 'cancelled: a newer revision was analysed'"
            )
        )
        assert destinations.destinations(connection) == ()


def test_sizes_are_those_of_the_rows(engine: Engine) -> None:
    with engine.begin() as connection:
        _one_study_through(connection)
        told = sizes.sizes(connection)
    assert told.store_bytes == told.received_bytes == 2000
    assert told.result_bytes == len(b"DICOM")
    assert told.first_received_at is not None
    assert told.database_bytes > 1_000_000


def test_the_store_of_a_large_table_is_estimated_to_a_few_percent(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizes, "_SAMPLED_PAGES", 40)
    with engine.begin() as connection:
        fill(connection, studies=2000, instances=5)
        assert sizes.sizes(connection).store_bytes == pytest.approx(2000 * 5 * 526_000, rel=0.1)


LARGE = {"studies", "series", "instances", "revisions", "analyses", "result_objects", "deliveries"}


@pytest.mark.parametrize(
    "statement",
    [
        flow.RECEIVED,
        flow.IMAGES,
        flow.ANALYSED,
        flow.DELIVERED,
        destinations.WAITING,
        destinations.STORED,
        destinations.ENDED,
        sizes.SIZES,
        arrivals.ARRIVALS.replace(":within_s", "28800"),
    ],
)
def test_no_query_has_to_read_a_large_table_from_end_to_end(engine: Engine, statement: str) -> None:
    """Where Postgres may choose, it does so for tables as small as these."""
    with engine.begin() as connection:
        connection.execute(text("set local enable_seqscan = off"))
        lines = connection.execute(text(f"explain {statement}")).scalars()
        read = {line.split(" on ")[1].split()[0] for line in lines if "Seq Scan on" in line}
    assert not read & LARGE


def test_nothing_can_be_written_by_whoever_asks(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(connection: Connection) -> None:
        connection.execute(text("delete from processes"))

    monkeypatch.setattr("neurotriage.operations.reading._QUERIES", {Section.PROCESSES: write})
    assert "ReadOnlySqlTransaction" in gather(engine, Storage(tmp_path)).missing[Section.PROCESSES]


def test_without_postgres_the_disk_is_told_and_the_rest_says_why(tmp_path: Path) -> None:
    engine = connect("postgresql://neurotriage@127.0.0.1:1/neurotriage")
    facts = gather(engine, Storage(tmp_path))
    assert set(facts.missing) == OF_POSTGRES
    assert all("Postgres does not answer" in why for why in facts.missing.values())
    assert facts.disk is not None
    assert facts.disk.free_bytes > 0


def test_without_a_storage_folder_the_tables_are_told_and_the_disk_says_why(
    engine: Engine, tmp_path: Path
) -> None:
    facts = gather(engine, Storage(tmp_path / "gone"))
    assert set(facts.missing) == {Section.DISK}
    assert "gone: No such file or directory" in facts.missing[Section.DISK]
    assert facts.queue is not None


def test_a_table_that_cannot_be_read_costs_its_section_alone(engine: Engine, tmp_path: Path) -> None:
    with engine.begin() as connection:
        connection.execute(text("alter table processes rename to elsewhere"))
    facts = gather(engine, Storage(tmp_path))
    assert set(facts.missing) == {Section.PROCESSES}
    assert "UndefinedTable" in facts.missing[Section.PROCESSES]


def test_a_query_that_waits_for_a_lock_is_left_out_within_seconds(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neurotriage.operations.reading._STATEMENT_LIMIT_MS", 200)
    with engine.begin() as connection:
        connection.execute(text("lock table processes in access exclusive mode"))
        facts = gather(engine, Storage(tmp_path))
    assert set(facts.missing) == {Section.PROCESSES}
    assert "QueryCanceled" in facts.missing[Section.PROCESSES]


def test_what_lies_in_the_spools_is_counted_with_the_age_of_its_oldest(
    engine: Engine, tmp_path: Path
) -> None:
    begun = datetime.now(UTC)
    for name in ("main", "import"):
        spool = open_spool(StorageSettings(root=tmp_path, min_free_bytes=0), name)
        spool.receive(
            AssociationInfo("CT1", "NEUROTRIAGE", "127.0.0.1"),
            sop_class_uid="1.2",
            sop_instance_uid="1.2.3",
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            data_set=b"",
        )
    disk = gather(engine, Storage(tmp_path)).disk
    assert disk is not None
    assert disk.spool_files == 2
    assert disk.spool_oldest_at is not None
    assert begun - timedelta(seconds=1) <= disk.spool_oldest_at <= datetime.now(UTC)


def _study_began(engine: Engine, uid: str, days_ago: float) -> None:
    back = text("update studies set first_received_at = now() - make_interval(secs => :s) where id = :id")
    with engine.begin() as connection:
        study_id = receive(connection, 1, study=uid)
        connection.execute(back, {"s": days_ago * 86_400, "id": study_id})


def test_arrivals_of_a_peer_are_those_of_these_hours_now_and_in_the_last_four_weeks(
    engine: Engine, tmp_path: Path
) -> None:
    days_ago = (0.5, 7.01, 7.05, 14.1, 20.9, 28.1, 35.1)  # none now; before: two, one, none, one, too old
    for number, days in enumerate(days_ago):
        _study_began(engine, f"1.2.{number}", days)
    eight_hours = Wanted(arrivals_within_s=8 * 3600)
    assert gather(engine, Storage(tmp_path), eight_hours).arrivals == (PeerArrivals("SCANNER", 0, 4, 3),)
    assert gather(engine, Storage(tmp_path)).arrivals == ()
    _study_began(engine, "1.2.99", 0.3)
    (found,) = gather(engine, Storage(tmp_path), eight_hours).arrivals or ()
    assert found.studies_now == 1


def test_our_certificates_are_read_where_this_host_has_them(engine: Engine, tmp_path: Path) -> None:
    pair = TestAuthority(tmp_path / "ca").pair("listener", ["127.0.0.1"], days=9)
    tls = ListenerTls(certificate=pair.certificate, key=pair.key)
    settings = Settings(listener=ListenerSettings(tls=tls))
    (found,) = gather(engine, Storage(tmp_path), wanted(settings)).certificates
    assert (found.file, round(found.days_left(datetime.now(UTC)))) == (pair.certificate, 9)
    pair.certificate.unlink()
    assert gather(engine, Storage(tmp_path), wanted(settings)).certificates == ()
