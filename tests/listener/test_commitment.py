"""A peer asks us to commit what it sent: it is told the truth, at its own address, and we keep our word."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage
from sqlalchemy import Engine, text

from db import retention
from dicom_listener.admission.peers import report_host
from dicom_listener.commitment.decide import WAIT_S, decide
from dicom_listener.commitment.reporter import Reporter
from dicom_listener.ingest.ingest import Ingest
from dicom_listener.ingest.notes import ingest_requests
from dicom_listener.ingest.quarantine import Quarantine
from dicom_listener.server import Listener
from dicom_listener.spool import read_received
from neurotriage.core.settings import Peer, Settings
from neurotriage.core.storage import Storage
from neurotriage.core.values import Reason, ReasonCode
from neurotriage.dicom.commitment_request import MAX_REFERENCES
from tests.listener.asker import Asker, Told, act, ask, asked, associate
from tests.listener.conftest import instance, rows, send, spooled

Listen = Callable[..., tuple[Listener, int]]
ONE, TWO, THREE = (f"1.2.3.1.{number}" for number in (1, 2, 3))
ON = {"storage_commitment": True}


@dataclass
class Site:
    """Our side, a step at a time."""

    settings: Settings
    engine: Engine
    storage: Storage
    ingest: Ingest
    quarantine: Quarantine
    listener: Listener
    port: int

    def record(self) -> None:
        """Requests and images that lie in the spool become rows."""
        ingest_requests(self.engine, self.listener.spool, self.quarantine)
        self.ingest.drain()

    def decide(self, wait_s: float = WAIT_S) -> int:
        ingest_requests(self.engine, self.listener.spool, self.quarantine)
        backlog = self.ingest.backlog()
        return decide(self.engine, self.storage, backlog, datetime.now(UTC), wait_s=wait_s)

    def report(self, **changes: object) -> int:
        """Report what is due, and have what was postponed be due again."""
        settings = Settings.model_validate(self.settings.model_dump() | changes)
        done = Reporter(self.engine, settings).step()
        with self.engine.begin() as connection:
            connection.execute(text("update commitment_transactions set next_try_at = now()"))
        return done

    def states(self) -> list[tuple[object, ...]]:
        """State, tries and last words of each transaction."""
        return rows(
            self.engine, "select state, attempts, last_status from commitment_transactions order by id"
        )

    def promised(self) -> list[object]:
        return [
            row[0]
            for row in rows(
                self.engine,
                "select sop_instance_uid from instances where committed_at is not null order by 1",
            )
        ]


@pytest.fixture
def asker() -> Iterator[Asker]:
    with Asker() as asker:
        yield asker


@pytest.fixture
def site(
    asker: Asker,
    settings: Settings,
    listen: Listen,
    engine: Engine,
    storage: Storage,
    ingest: Ingest,
    quarantine: Quarantine,
) -> Site:
    changes = {"listener": settings.listener.model_dump() | ON, "peer": [asker.peer]}
    changed = Settings.model_validate(settings.model_dump() | changes)
    listener, port = listen(listener=ON, peer=[asker.peer])
    return Site(changed, engine, storage, ingest, quarantine, listener, port)


def test_what_is_ours_is_committed_and_reported_on_an_association_of_our_own(
    site: Site, asker: Asker
) -> None:
    assert send(site.port, [instance(number=1), instance(number=2)]) == [0, 0]
    assert ask(site.port, asked("2.25.7", ONE, TWO)) == [0x0000]
    site.record()
    assert (site.decide(), site.report()) == (1, 1)
    assert asker.reports.get(timeout=5) == Told(1, "2.25.7", [ONE, TWO], {})
    assert asker.callers == [("NEUROTRIAGE", True)]
    assert site.states() == [("reported", 1, "answered 0x0000")]
    assert site.promised() == [ONE, TWO]
    assert (site.decide(), site.report()) == (0, 0)


def test_what_is_not_ours_fails_each_for_its_own_reason(site: Site, asker: Asker) -> None:
    send(site.port, [instance(number=number) for number in (1, 2, 3)])
    ask(site.port, asked("2.25.7", ONE, "9.9.9", (CTImageStorage, TWO), THREE))
    site.record()
    query = "select digest from instances where sop_instance_uid like '%.3'"
    ((lost,),) = rows(site.engine, query)
    site.storage.stored_instance(str(lost)).unlink()
    site.decide()
    site.report()
    failed = {"9.9.9": 0x0112, TWO: 0x0119, THREE: 0x0110}
    assert asker.reports.get(timeout=5) == Told(2, "2.25.7", [ONE], failed)
    assert site.promised() == [ONE]
    assert rows(site.engine, "select failed_count, asked_count from commitment_transactions") == [(3, 4)]


def test_a_file_that_was_cut_short_is_not_committed(site: Site, asker: Asker) -> None:
    send(site.port, [instance(number=1)])
    ask(site.port, asked("2.25.7", ONE))
    site.record()
    ((digest,),) = rows(site.engine, "select digest from instances")
    path = site.storage.stored_instance(str(digest))
    path.write_bytes(path.read_bytes()[:-2])
    site.decide()
    site.report()
    assert asker.reports.get(timeout=5).failed == {ONE: 0x0110}


def test_what_lies_in_the_spool_is_waited_for(site: Site, asker: Asker) -> None:
    send(site.port, [instance(number=1)])
    ask(site.port, asked("2.25.7", ONE))
    assert site.decide() == 0  # the spool was not even listed since
    site.record()
    assert site.decide() == 1
    site.report()
    assert asker.reports.get(timeout=5).committed == [ONE]


def test_it_is_waited_for_no_longer_than_the_limit_and_not_called_unknown(site: Site, asker: Asker) -> None:
    send(site.port, [instance(number=1)])
    ask(site.port, asked("2.25.7", ONE))
    assert site.decide(wait_s=0.0) == 1
    site.report()
    assert asker.reports.get(timeout=5) == Told(2, "2.25.7", [], {ONE: 0x0110})
    assert site.promised() == []


def test_all_bytes_under_a_uid_are_kept_for_whoever_asks(site: Site) -> None:
    send(site.port, [instance(number=1), instance(number=1, StudyDescription="another")])
    ask(site.port, asked("2.25.7", ONE))
    site.record()
    site.decide()
    assert site.promised() == [ONE, ONE]


def test_a_transaction_uid_that_was_used_before_is_told_so(site: Site, asker: Asker) -> None:
    send(site.port, [instance(number=1), instance(number=2)])
    ask(site.port, asked("2.25.7", ONE), asked("2.25.7", TWO))
    site.record()
    site.decide()
    site.report()
    told = asker.reports.get(timeout=5), asker.reports.get(timeout=5)
    assert told == (Told(1, "2.25.7", [ONE], {}), Told(2, "2.25.7", [], {TWO: 0x0131}))
    assert site.promised() == [ONE]


def test_the_same_request_again_is_answered_again(site: Site, asker: Asker) -> None:
    for times in (1, 2):
        ask(site.port, asked("2.25.7", ONE))
        site.record()
        site.decide()
        site.report()
        assert asker.reports.get(timeout=5).failed == {ONE: 0x0112}
        assert len(site.states()) == 1, times


def test_a_note_that_is_read_twice_is_reported_once(site: Site, asker: Asker) -> None:
    ask(site.port, asked("2.25.7", ONE))
    (note,) = site.listener.spool.commitments()
    content = note.read_bytes()
    for _ in range(2):
        note.write_bytes(content)  # as after a crash between the row and the removal of the note
        site.record()
        site.decide()
        site.report()
    assert asker.reports.get(timeout=5).transaction == "2.25.7"
    assert asker.reports.empty()


def test_a_peer_that_is_down_is_told_when_it_is_back(site: Site, asker: Asker) -> None:
    send(site.port, [instance(number=1)])
    ask(site.port, asked("2.25.7", ONE))
    site.record()
    site.decide()
    asker.__exit__(None, None, None)
    assert site.report() == 1
    ((state, attempts, why),) = site.states()
    assert (state, attempts) == ("waiting", 1)
    assert "does not answer" in str(why)
    with asker:
        site.report()
        assert asker.reports.get(timeout=5).committed == [ONE]
    assert site.states() == [("reported", 2, "answered 0x0000")]


def test_tries_end_and_what_was_promised_is_kept(site: Site, asker: Asker) -> None:
    send(site.port, [instance(number=1)])
    ask(site.port, asked("2.25.7", ONE))
    site.record()
    site.decide()
    asker.__exit__(None, None, None)
    limits = site.settings.delivery.model_dump() | {"max_attempts": 2}
    assert [site.report(delivery=limits) for _ in range(3)] == [1, 1, 0]
    ((state, attempts, _),) = site.states()
    assert (state, attempts) == ("not_reported", 2)
    assert site.promised() == [ONE]
    asker.__enter__()


def test_a_peer_that_refuses_the_report_is_not_told_for_ever(site: Site, asker: Asker) -> None:
    asker.status = 0x0110
    ask(site.port, asked("2.25.7", ONE))
    site.record()
    site.decide()
    while site.report():
        pass
    assert site.states() == [("not_reported", 5, "the peer refuses the report (0x0110)")]


def test_a_peer_that_is_no_longer_configured_is_told_nothing(site: Site, asker: Asker) -> None:
    ask(site.port, asked("2.25.7", ONE))
    site.record()
    site.decide()
    site.report(peer=[{**asker.peer, "host": "10.1.2.3"}])
    assert site.states() == [("not_reported", 1, "no [[peer]] SENDER at 127.0.0.1 has a port")]
    assert asker.callers == []


@pytest.mark.parametrize(("network", "told"), [("127.0.0.0/8", True), ("10.1.2.0/24", False)])
def test_a_peer_of_a_network_is_told_where_it_asked_and_only_within_that_network(
    site: Site, asker: Asker, network: str, told: bool
) -> None:
    ask(site.port, asked("2.25.7", ONE))
    site.record()
    site.decide()
    site.report(peer=[{**asker.peer, "host": network}])
    assert (asker.callers != []) is told


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ({"host": "10.1.2.0/24", "port": 104}, "10.1.2.3"),
        ({"host": "10.1.2.9", "port": 104}, "10.1.2.9"),
        ({"host": "ct1.example", "port": 104}, "ct1.example"),
        ({"host": "10.1.2.9"}, ""),
        ({"certificate_subject": "CN=ct1", "port": 104}, ""),
    ],
)
def test_a_report_goes_where_the_site_says_and_nowhere_else(peer: dict[str, object], host: str) -> None:
    """A listener on IPv6 sees addresses of IPv4 in a form of its own."""
    assert report_host(Peer.model_validate({"ae_title": "CT1", **peer}), "::ffff:10.1.2.3") == host


@pytest.mark.parametrize(
    "peer", [[], [{"ae_title": "SENDER", "host": "127.0.0.1"}]], ids=["none listed", "no port"]
)
def test_whoever_cannot_be_answered_may_not_ask(listen: Listen, peer: list[dict[str, object]]) -> None:
    listener, port = listen(listener=ON, peer=peer)
    assert ask(port, asked("2.25.7", ONE)) == [0x0124]
    assert listener.spool.commitments() == []


def test_it_is_off_by_default_and_the_context_is_rejected(listen: Listen, asker: Asker) -> None:
    _, port = listen(peer=[asker.peer])
    for association in (associate(port), associate(port, scu_role=True)):
        assert not association.is_established


def test_while_it_is_off_a_peer_that_may_report_to_us_may_not_ask(listen: Listen, asker: Asker) -> None:
    listener, port = listen(peer=[asker.peer])
    association = associate(port, scu_role=True, scp_role=True)
    (context,) = association.accepted_contexts
    assert (context.as_scu, context.as_scp) == (False, True)
    context._as_scu = True  # it asks all the same
    assert act(association, asked("2.25.7", ONE)) == 0x0211
    association.release()
    assert listener.spool.commitments() == []


def without(keyword: str) -> Dataset:
    request = asked("2.25.7", ONE)
    del request[keyword]
    return request


TOO_MANY = asked("2.25.7", *(f"1.{number}" for number in range(MAX_REFERENCES + 1)))
TOO_LONG = asked("2.25.7", ONE)
TOO_LONG.TextValue = "x" * (3 << 20)


@pytest.mark.parametrize(
    ("request_", "changes", "status"),
    [
        (asked("2.25.7", ONE), {"kind": 2}, 0x0123),
        (asked("2.25.7", ONE), {"instance": "1.2.840.10008.1.20.1.2"}, 0x0112),
        (without("TransactionUID"), {}, 0x0115),
        (without("ReferencedSOPSequence"), {}, 0x0115),
        (asked("2.25.7"), {}, 0x0115),
        (TOO_MANY, {}, 0x0213),
        (TOO_LONG, {}, 0x0213),
    ],
    ids=["action", "SOP instance", "no transaction", "no sequence", "no reference", "too many", "too long"],
)
def test_a_bad_request_gets_its_status_and_the_association_goes_on(
    site: Site, request_: Dataset, changes: dict[str, object], status: int
) -> None:
    association = associate(site.port)
    assert act(association, request_, **changes) == status  # type: ignore[arg-type]
    assert act(association, asked("2.25.8", ONE)) == 0x0000
    association.release()
    assert len(site.listener.spool.commitments()) == 1


def test_a_full_disk_takes_no_request(listen: Listen, asker: Asker) -> None:
    _, port = listen(listener=ON, peer=[asker.peer], storage={"min_free_bytes": 10**18})
    assert ask(port, asked("2.25.7", ONE)) == [0x0213]


def test_the_quarantine_deletes_nothing_that_was_promised(
    site: Site, engine: Engine, storage: Storage
) -> None:
    for number in (1, 2):
        send(site.port, [instance(number=number)])
    ask(site.port, asked("2.25.7", ONE))
    site.record()
    site.decide()
    for number in (1, 2, 3):  # the same bytes once more, of which the first are promised
        spooled(site.listener.spool, instance(number=number))
    full = Quarantine(engine, storage, max_bytes=1)
    paths = site.listener.spool.waiting()
    promised = read_received(paths[0]).reception.digest
    with engine.connect() as connection:
        known = [read_received(path).reception.digest for path in paths]
        assert retention.promised(connection, known) <= {promised}
    for path in paths:
        reason = Reason(ReasonCode.NOT_RECORDED, "for a test")
        full.set_aside("instance", path, reason, read_received(path).reception)
    assert {path.name for path in storage.quarantine.iterdir()} == {paths[0].name, paths[2].name}


def test_thousands_of_references_are_decided_within_seconds(site: Site, asker: Asker) -> None:
    many = [f"1.2.3.1.{number}" for number in range(1, MAX_REFERENCES + 1)]
    send(site.port, [instance(number=1)])
    begin = time.monotonic()
    assert ask(site.port, asked("2.25.7", *many)) == [0x0000]
    site.record()
    site.decide()
    site.report()
    told = asker.reports.get(timeout=5)
    assert (told.committed, len(told.failed)) == ([ONE], MAX_REFERENCES - 1)
    assert time.monotonic() - begin < 30
