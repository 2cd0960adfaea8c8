"""Requests to models of others as rows: one worker at a time, one rate, one pause, and an end."""

from dataclasses import replace

import pytest
from sqlalchemy import Connection, Engine, text

from db import summary_requests
from db.summary_requests import HeldRequest, Purpose, Turn
from neurotriage.core.states import SummaryState
from tests.db.rows import analysed, claimed, ready_revision


@pytest.fixture
def analysis_id(engine: Engine) -> int:
    with engine.begin() as connection:
        analysed(connection, claimed(connection, ready_revision(connection, 1)))
        return int(connection.execute(text("select id from analyses")).scalar_one())


def claim(connection: Connection, *, wait_s: float = 60.0, attempts: int = 3) -> HeldRequest | None:
    return summary_requests.claim_next(connection, owner="w", wait_s=wait_s, lease_s=60.0, attempts=attempts)


def state(connection: Connection) -> list[tuple[str, str]]:
    rows = connection.execute(text("select state, reason from summary_requests order by id"))
    return [tuple(row) for row in rows]


def turn(connection: Connection, request_id: int, purpose: Purpose = Purpose.TEXT) -> Turn:
    return summary_requests.take_turn(
        connection, request_id, purpose, [{"role": "user"}], per_minute=3, failures=2, pause_s=300.0
    )


def test_a_request_is_held_by_one_worker_and_taken_over_when_its_lease_ends(
    engine: Engine, analysis_id: int
) -> None:
    with engine.begin() as connection:
        summary_requests.place(connection, analysis_id)
        first = claim(connection)
        assert first is not None
        assert claim(connection) is None
        connection.execute(text("update summary_requests set lease_until = now() - interval '1 s'"))
        second = claim(connection)
        assert second is not None
        assert not summary_requests.finish(connection, first, SummaryState.ACCEPTED)
        assert summary_requests.finish(connection, second, SummaryState.ACCEPTED)
        assert claim(connection) is None
        assert state(connection) == [("accepted", "")]


def test_a_request_ends_late_after_its_time_or_its_attempts(engine: Engine, analysis_id: int) -> None:
    with engine.begin() as connection:
        summary_requests.place(connection, analysis_id)
        assert summary_requests.expire(connection, wait_s=60.0, attempts=1) == 0
        connection.execute(text("update summary_requests set created_at = now() - interval '61 s'"))
        assert claim(connection) is None
        assert summary_requests.expire(connection, wait_s=60.0, attempts=1) == 1
        summary_requests.place(connection, analysis_id)
        assert claim(connection, attempts=1) is not None
        assert summary_requests.expire(connection, wait_s=60.0, attempts=1) == 0  # somebody holds it
        connection.execute(text("update summary_requests set lease_until = now() - interval '1 s'"))
        assert summary_requests.expire(connection, wait_s=60.0, attempts=1) == 1
        assert state(connection) == [
            ("late", "nobody was asked in time"),
            ("late", "the worker that asked ended before it was done"),
        ]
        events = connection.execute(text("select kind from events where kind = 'text_late'")).all()
        assert len(events) == 2


def test_what_waits_is_rung_for_again_only_after_a_while(engine: Engine, analysis_id: int) -> None:
    with engine.begin() as connection:
        summary_requests.place(connection, analysis_id)
        revision = connection.execute(text("select revision_id from analyses")).scalar_one()
        assert summary_requests.to_ring(connection, every_s=10.0) == [revision]
        assert summary_requests.to_ring(connection, every_s=10.0) == []
        assert summary_requests.to_ring(connection, every_s=0.0) == [revision]


def test_turns_are_counted_by_the_minute_and_apart_for_each_purpose(engine: Engine, analysis_id: int) -> None:
    with engine.begin() as connection:
        request_id = summary_requests.place(connection, analysis_id)
        assert all(turn(connection, request_id).exchange_id for _ in range(3))
        waits = turn(connection, request_id)
        assert waits.exchange_id is None
        assert 0 < waits.wait_s <= 60
        assert turn(connection, request_id, Purpose.OPINION).exchange_id is not None
        connection.execute(text("update summary_exchanges set asked_at = asked_at - interval '61 s'"))
        assert turn(connection, request_id).exchange_id is not None


def test_after_failures_in_a_row_there_is_a_pause_and_then_one_try(engine: Engine, analysis_id: int) -> None:
    with engine.begin() as connection:
        request_id = summary_requests.place(connection, analysis_id)
        for fault in ("server_error", "too_slow"):
            taken = turn(connection, request_id)
            assert taken.exchange_id is not None
            _record(connection, taken.exchange_id, fault)
        assert turn(connection, request_id).paused
        connection.execute(text("update summary_exchanges set asked_at = asked_at - interval '301 s'"))
        taken = turn(connection, request_id)
        assert taken.exchange_id is not None
        _record(connection, taken.exchange_id, None)
        assert not turn(connection, request_id).paused


def test_after_a_pause_only_one_tries_until_its_turn_has_ended(engine: Engine, analysis_id: int) -> None:
    with engine.begin() as connection:
        request_id = summary_requests.place(connection, analysis_id)
        under_way = [turn(connection, request_id) for _ in range(2)]  # two workers, before any answer
        for taken in under_way:
            assert taken.exchange_id is not None
            _record(connection, taken.exchange_id, "server_error")
        assert turn(connection, request_id).paused
        connection.execute(text("update summary_exchanges set asked_at = asked_at - interval '301 s'"))
        trial = turn(connection, request_id)
        assert trial.exchange_id is not None
        assert turn(connection, request_id).paused
        _record(connection, trial.exchange_id, None)
        assert not turn(connection, request_id).paused


def test_what_is_sent_is_on_record_before_any_answer(engine: Engine, analysis_id: int) -> None:
    with engine.begin() as connection:
        turn(connection, summary_requests.place(connection, analysis_id))
        rows = connection.execute(text("select request, took_s from summary_exchanges")).all()
    assert [tuple(row) for row in rows] == [([{"role": "user"}], None)]


def test_a_request_with_hardly_any_time_left_is_late(engine: Engine, analysis_id: int) -> None:
    with engine.begin() as connection:
        summary_requests.place(connection, analysis_id)
        connection.execute(text("update summary_requests set created_at = now() - interval '55 s'"))
        assert claim(connection) is None
        assert summary_requests.expire(connection, wait_s=60.0, attempts=3) == 1


def test_a_lease_is_renewed_by_its_holder_alone(engine: Engine, analysis_id: int) -> None:
    with engine.begin() as connection:
        summary_requests.place(connection, analysis_id)
        held = claim(connection)
        assert held is not None
        assert summary_requests.renew(connection, held, lease_s=60.0)
        assert not summary_requests.renew(connection, replace(held, token=held.token + 1), lease_s=60.0)


def _record(connection: Connection, exchange_id: int, fault: str | None) -> None:
    summary_requests.end_turn(connection, exchange_id, took_s=1.0, answer=None, fault=fault)
