"""Storage commitments of peers as rows: bounded, fenced, and what is promised is kept."""

from dataclasses import replace
from datetime import timedelta

from sqlalchemy import Connection, Engine, delete, event, text

from db import commitments, refusals, retention
from db.commitments import DueReport, Held
from db.studies.instances import record_instances
from db.tables import Instance
from neurotriage.core.states import CommitmentState
from neurotriage.core.values import Reason, ReasonCode
from neurotriage.dicom.commitment_request import CommitmentRequest
from tests.db.rows import NOW, RECEPTION, header, receive

MR = "1.2.840.10008.5.1.4.1.1.4"


def ask(
    connection: Connection,
    transaction: str,
    *uids: str,
    after_s: float = 0.0,
    peer: str = "CT1",
    **more: int,
) -> None:
    commitments.record_request(
        connection,
        CommitmentRequest(transaction, tuple((MR, uid) for uid in uids)),
        peer_ae_title=peer,
        called_ae_title="NEUROTRIAGE",
        peer_host="10.1.2.3",
        requested_at=NOW + timedelta(seconds=after_s),
        **more,
    )


def decide(connection: Connection, *committed: Held) -> list[DueReport]:
    later = NOW + timedelta(days=1)
    for transaction in commitments.undecided(connection, recorded_until=later, waited_until=later):
        commitments.record_decision(connection, transaction, committed, [])
    return commitments.due_reports(connection)


def states(connection: Connection) -> list[tuple[object, ...]]:
    query = text("select transaction_uid, state from commitment_transactions order by id")
    return [tuple(row) for row in connection.execute(query)]


def test_what_was_promised_is_what_may_not_be_deleted(engine: Engine) -> None:
    with engine.begin() as connection:
        receive(connection, 1, 2)
        uids = list(connection.execute(text("select sop_instance_uid from instances order by id")).scalars())
        held = commitments.lock_instances(connection, uids)
        ask(connection, "2.25.1", uids[0])
        decide(connection, *held[uids[0]])
        digests = {found[0].digest for found in held.values()}
        assert retention.promised(connection, digests) == {held[uids[0]][0].digest}
        connection.execute(delete(Instance).where(retention.may_be_deleted()))
        left = connection.execute(text("select sop_instance_uid from instances")).scalars().all()
    assert left == [uids[0]]


def test_promised_bytes_are_found_without_reading_every_instance(engine: Engine) -> None:
    asked: list[str] = []
    with engine.begin() as connection:
        connection.execute(text("set local enable_seqscan = off"))
        event.listen(connection, "before_cursor_execute", lambda *args: asked.append(args[2]))
        retention.promised(connection, {"ab"})
        plan = connection.exec_driver_sql(f"explain {asked[0]}", {"digest_1_1": "ab"}).scalars().all()
    assert "ix_instances_promised" in plan[0] + plan[1]
    assert any("Index Cond: (digest" in line.replace("((", "(") for line in plan)


def test_a_promise_that_is_given_again_keeps_its_first_time(engine: Engine) -> None:
    with engine.begin() as connection:
        receive(connection, 1)
        (uid,) = connection.execute(text("select sop_instance_uid from instances")).scalars()
        held = commitments.lock_instances(connection, [uid])[uid]
        times = set()
        for transaction in ("2.25.1", "2.25.2"):
            ask(connection, transaction, uid)
            decide(connection, *held)
            times |= set(connection.execute(text("select committed_at from instances")).scalars())
    assert len(times) == 1


def test_a_request_that_is_read_twice_starts_nothing_again_and_a_new_one_does(engine: Engine) -> None:
    with engine.begin() as connection:
        ask(connection, "2.25.1", "1.1", "1.2")
        (report,) = decide(connection)
        commitments.end_report(connection, report, CommitmentState.REPORTED, "answered 0x0000")
        ask(connection, "2.25.1", "1.2", "1.1")
        assert states(connection) == [("2.25.1", "reported")]
        ask(connection, "2.25.1", "1.1", "1.2", after_s=1)
        assert states(connection) == [("2.25.1", "waiting")]
        (report,) = decide(connection)
    assert report.committed == ((MR, "1.1"), (MR, "1.2"))


def test_of_one_peer_so_many_wait_and_the_oldest_ends(engine: Engine) -> None:
    with engine.begin() as connection:
        for number in range(4):
            ask(connection, f"2.25.{number}", "1.1", after_s=number, max_open=3)
        assert states(connection)[0] == ("2.25.0", "not_reported")
        assert [state for _, state in states(connection)[1:]] == ["waiting"] * 3


def test_the_oldest_that_have_ended_are_deleted_and_none_that_waits(engine: Engine) -> None:
    with engine.begin() as connection:
        for number in range(3):
            ask(connection, f"2.25.{number}", "1.1", after_s=number)
        first = decide(connection)[0]
        commitments.end_report(connection, first, CommitmentState.REPORTED, "answered 0x0000")
        ask(connection, "2.25.9", "1.1", after_s=9, kept=1)
        left = [uid for uid, _ in states(connection)]
    assert left == ["2.25.1", "2.25.2", "2.25.9"]


def test_an_end_is_final_and_tells_itself(engine: Engine) -> None:
    with engine.begin() as connection:
        ask(connection, "2.25.1", "1.1")
        (report,) = decide(connection)
        commitments.end_report(connection, report, CommitmentState.NOT_REPORTED, "nobody there")
        commitments.postpone(connection, report, "late", in_s=1)
        commitments.end_report(connection, report, CommitmentState.REPORTED, "answered 0x0000")
        assert states(connection) == [("2.25.1", "not_reported")]
        kinds = list(connection.execute(text("select kind from events order by id")).scalars())
        asked = connection.execute(text("select asked from commitment_transactions")).scalar_one()
    assert kinds == ["commitment_decided", "commitment_not_reported"]
    assert asked == []


def test_a_peer_with_many_reports_leaves_room_for_the_others(engine: Engine) -> None:
    with engine.begin() as connection:
        for number in range(30):
            ask(connection, f"2.25.{number}", "1.1", peer="DOWN")
        ask(connection, "2.25.99", "1.1", after_s=1, peer="CT2")
        while len(commitments.due_reports(connection, limit=100)) < 31:
            decide(connection)
        peers = [report.peer_ae_title for report in commitments.due_reports(connection, limit=5)]
    assert sorted(peers) == ["CT2", "DOWN", "DOWN", "DOWN", "DOWN"]


def test_a_report_of_an_earlier_request_does_not_end_the_one_that_came_meanwhile(engine: Engine) -> None:
    with engine.begin() as connection:
        ask(connection, "2.25.1", "1.1")
        (report,) = decide(connection)
        ask(connection, "2.25.1", "1.1", after_s=1)
        commitments.end_report(connection, report, CommitmentState.REPORTED, "answered 0x0000")
        commitments.postpone(connection, report, "no answer", in_s=600)
        assert states(connection) == [("2.25.1", "waiting")]
        assert len(decide(connection)) == 1


def test_what_came_under_a_uid_and_could_not_be_recorded_stands_until_something_else_came(
    engine: Engine,
) -> None:
    uid = header(1).sop_instance_uid
    reason = Reason(ReasonCode.NOT_DICOM, "x")
    with engine.begin() as connection:
        receive(connection, 1)
        later = replace(
            RECEPTION,
            affected_sop_instance_uid=uid,
            received_at=RECEPTION.received_at + timedelta(seconds=1),
        )
        refusals.quarantine(connection, "a.dcm", "quarantine/a.dcm", reason, later, kind="instance")
        assert commitments.set_aside(connection, [uid, "1.2"]) == {uid}
        newer = replace(RECEPTION, received_at=RECEPTION.received_at + timedelta(seconds=2))
        record_instances(connection, [(header(1, content="other"), newer)])
        assert commitments.set_aside(connection, [uid]) == frozenset()
