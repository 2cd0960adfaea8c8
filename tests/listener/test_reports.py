"""What an archive says of our results reaches us on an association of its own, and finds its deliveries."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from sqlalchemy import Engine, text

from db.delivery import deliveries, destinations, proof
from dicom_listener.ingest.ingest import Ingest, Ingested
from dicom_listener.server import Listener
from dicom_listener.spool import Spool
from neurotriage.core.states import DeliveryState
from neurotriage.core.storage import Storage
from tests.db.rows import analysed, claimed, ready_revision, written
from tests.delivery.archive import report_to
from tests.listener.conftest import PARTIES, encoded, spooled_report

TRANSACTION = "2.25.4711"
Listen = Callable[..., tuple[Listener, int]]


@pytest.fixture
def take_in(ingest: Ingest) -> Callable[[], Ingested]:
    return ingest.drain


@pytest.fixture
def asked(engine: Engine) -> None:
    """Two objects are stored, and the archive was asked to commit them."""
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection))
        analysed(connection, held, written(1, "pacs"), written(2, "pacs"))
        right = destinations.take(connection, "pacs", owner="w", lease_s=60)
        assert right is not None
        sent = deliveries.due(connection, "pacs")
        for delivery in sent:
            deliveries.begin(connection, right, delivery.id)
            deliveries.settle(connection, right, delivery, DeliveryState.STORED, "stored", prove=True)
        assert proof.record_request(connection, right, sent, TRANSACTION, ae_title="SENDER", wait_s=3600)


def report(*committed: int, failed: tuple[int, ...] = (), transaction: str = TRANSACTION) -> Dataset:
    told = Dataset()
    told.TransactionUID = transaction
    told.ReferencedSOPSequence = Sequence([_item(number) for number in committed])
    if failed:
        told.FailedSOPSequence = Sequence([_item(number) for number in failed])
        for item in told.FailedSOPSequence:
            item.FailureReason = 0x0112
    return told


def _item(number: int) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    item.ReferencedSOPInstanceUID = f"2.25.{number}"
    return item


def states(engine: Engine) -> list[tuple[str, bool]]:
    """(state, whether committed) of each delivery."""
    with engine.connect() as connection:
        query = "select state, committed_at is not null from deliveries order by id"
        return [(row[0], row[1]) for row in connection.execute(text(query))]


def events(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(text("select kind from events order by id")).scalars())


@pytest.mark.parametrize("roles", [True, False])
def test_a_report_is_answered_once_it_is_durable(listen: Listen, roles: bool) -> None:
    """Some archives propose themselves as SCP, as the standard wants it; others, that we asked, need not."""
    asked = [{"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}]
    listener, port = listen(destination=[] if roles else asked)
    told = report(1)
    status, as_scp = report_to(port, (1, told), roles=roles)
    assert status == 0x0000
    assert as_scp is roles
    (path,) = listener.spool.reports()
    assert listener.spool.waiting() == []
    assert encoded(told) in path.read_bytes()


def test_a_report_from_a_stranger_is_not_taken(listen: Listen) -> None:
    listener, port = listen(peer=[{"ae_title": "PACS", "host": "10.1.2.3"}])
    with pytest.raises(AssertionError):
        report_to(port, (1, report(1)))
    assert listener.spool.reports() == []


def test_a_disk_that_is_full_is_told_to_the_archive(listen: Listen) -> None:
    listener, port = listen(storage={"min_free_bytes": 10**18})
    status, _ = report_to(port, (1, report(1)))
    assert status == 0x0110
    assert listener.spool.reports() == []


@pytest.mark.usefixtures("asked")
def test_a_report_commits_what_was_asked_for(
    take_in: Callable[[], Ingested], engine: Engine, spool: Spool
) -> None:
    spooled_report(spool, encoded(report(1, 2, 3)))
    assert take_in() == Ingested(reports=1)
    assert states(engine) == [("stored", True), ("stored", True)]
    assert events(engine)[-1] == "committed"
    assert spool.reports() == []


@pytest.mark.usefixtures("asked")
def test_what_failed_is_sent_again(take_in: Callable[[], Ingested], engine: Engine, spool: Spool) -> None:
    spooled_report(spool, encoded(report(1, failed=(2,))))
    take_in()
    assert states(engine) == [("stored", True), ("waiting", False)]


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize("told", [report(1, 2), report(failed=(1, 2))])
def test_a_report_of_another_peer_than_the_one_that_was_asked_is_not_believed(
    take_in: Callable[[], Ingested], engine: Engine, spool: Spool, told: Dataset
) -> None:
    stranger = replace(PARTIES, calling_ae_title="OTHER\0")
    spooled_report(spool, encoded(told), stranger)
    assert take_in() == Ingested(reports=1)
    assert states(engine) == [("stored", False), ("stored", False)]
    assert events(engine)[-1] == "commitment_unknown"


@pytest.mark.usefixtures("asked")
def test_a_later_failure_takes_back_what_was_committed(
    take_in: Callable[[], Ingested], engine: Engine, spool: Spool
) -> None:
    for told in (report(1, 2), report(1, failed=(2,))):
        spooled_report(spool, encoded(told))
        take_in()
    assert states(engine) == [("stored", True), ("waiting", False)]


@pytest.mark.usefixtures("asked")
def test_a_later_failure_of_what_is_not_sent_again_takes_back_the_proof_too(
    take_in: Callable[[], Ingested], engine: Engine, spool: Spool
) -> None:
    spooled_report(spool, encoded(report(1, 2)))
    take_in()
    with engine.begin() as connection:
        connection.execute(text("update deliveries set resends = 2"))
    spooled_report(spool, encoded(report(1, failed=(2,))))
    take_in()
    assert states(engine) == [("stored", True), ("stored", False)]
    with engine.connect() as connection:
        alarms = connection.execute(text("select alarmed_at is not null from deliveries order by id"))
        assert list(alarms.scalars()) == [False, True]


@pytest.mark.usefixtures("asked")
def test_a_report_that_comes_twice_changes_nothing(
    take_in: Callable[[], Ingested], engine: Engine, spool: Spool
) -> None:
    for _ in range(2):
        spooled_report(spool, encoded(report(1, failed=(2,))))
        take_in()
    assert states(engine) == [("stored", True), ("waiting", False)]
    assert events(engine).count("committed") == 1
    assert events(engine).count("sent_again") == 1


@pytest.mark.usefixtures("asked")
def test_a_report_about_nothing_that_we_asked_for_is_recorded(
    take_in: Callable[[], Ingested], engine: Engine, spool: Spool
) -> None:
    spooled_report(spool, encoded(report(1, transaction="2.25.9")))
    take_in()
    assert states(engine) == [("stored", False), ("stored", False)]
    assert events(engine)[-1] == "commitment_unknown"


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize("data", [b"\xff" * 64, b"", encoded(report(1, transaction=""))], ids=range(3))
def test_a_report_that_cannot_be_read_is_set_aside_and_the_next_is_taken(
    take_in: Callable[[], Ingested], engine: Engine, storage: Storage, spool: Spool, data: bytes
) -> None:
    spooled_report(spool, data)
    spooled_report(spool, encoded(report(1, 2)))
    assert take_in() == Ingested(reports=1, quarantined=1)
    assert states(engine) == [("stored", True), ("stored", True)]
    (aside,) = storage.quarantine.iterdir()
    with engine.connect() as connection:
        rows = connection.execute(text("select name, code, kind from quarantined")).all()
    assert [tuple(row) for row in rows] == [(aside.name, "not_dicom", "report")]


def test_reports_are_found_again_after_a_crash(spool: Spool, storage: Storage, tmp_path: Path) -> None:
    spooled_report(spool, encoded(report(1)))
    assert len(Spool(storage, "main", min_free_bytes=0).reports()) == 1
