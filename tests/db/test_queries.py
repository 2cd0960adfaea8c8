"""The questions that commands ask for people."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Connection, Engine, select, text
from sqlalchemy.exc import NoResultFound

from db import events, queries
from db.studies import leases
from db.studies.instances import record_instances
from db.tables import Event, Study
from neurotriage.core.states import RevisionState
from tests.db.rows import (
    NOW,
    RECEPTION,
    analysed,
    claimed,
    header,
    ready_revision,
    receive,
    sending_right,
    stored,
    written,
)


def test_the_history_of_a_study_tells_series_hops_and_deliveries(engine: Engine) -> None:
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection))
        analysed(connection, held, written(1, "pacs"))
        known = queries.history(connection, held.study_id)
    assert known.analysis is not None
    assert [verdict["code"] for verdict in known.verdicts] == ["eligible"]
    assert [event["kind"] for event in known.events] == [
        "received",
        "quiet",
        "ready",
        "analysing",
        "analysed",
    ]
    assert [(item.state, item.destination) for item in known.objects] == [("waiting", "pacs")]


def _received(connection: Connection, **ages_s: float) -> dict[str, int]:
    """Studies 1.2.a, 1.2.b, ... that came so long ago; their ids by letter."""
    for letter, age_s in ages_s.items():
        reception = replace(RECEPTION, received_at=NOW - timedelta(seconds=age_s))
        record_instances(connection, [(header(1, study=f"1.2.{letter}"), reception)])
    rows = connection.execute(select(Study.study_instance_uid, Study.id))
    return {row.study_instance_uid[-1]: row.id for row in rows}


def _letters(connection: Connection, limit: int, study_ids: list[int] | None = None) -> str:
    rows = queries.study_results(connection, limit=limit, study_ids=study_ids)
    return "".join(row["study_instance_uid"][-1] for row in rows)


def test_results_come_newest_first_and_not_more_than_asked_for(engine: Engine) -> None:
    with engine.begin() as connection:
        _received(connection, a=20, b=10, c=30)
        assert _letters(connection, limit=10) == "bac"
        assert _letters(connection, limit=2) == "ba"
        assert _letters(connection, limit=0) == ""


def test_results_of_named_studies_are_those_alone(engine: Engine) -> None:
    with engine.begin() as connection:
        ids = _received(connection, a=20, b=10, c=30)
        assert _letters(connection, limit=10, study_ids=[ids["c"], ids["a"]]) == "ac"
        assert _letters(connection, limit=1, study_ids=[ids["c"], ids["a"]]) == "a"
        assert _letters(connection, limit=10, study_ids=[]) == ""
        assert _letters(connection, limit=10, study_ids=[ids["c"] + 1000]) == ""


def test_the_columns_of_results_are_known_without_a_row(engine: Engine) -> None:
    with engine.begin() as connection:
        columns = queries.study_results_columns(connection)
        assert columns[:3] == ["study_instance_uid", "accession_number", "patient_id"]
        receive(connection, 1)
        (row,) = queries.study_results(connection, limit=1)
        assert list(row) == columns


def test_a_study_is_found_by_its_uid_and_all_of_an_accession_number_by_that(engine: Engine) -> None:
    with engine.begin() as connection:
        first, second = receive(connection, 1), receive(connection, 1, study="1.2.4")
        other = replace(header(1, study="1.2.5"), accession_number="A2")
        record_instances(connection, [(other, RECEPTION)])
        assert queries.find_studies(connection, "1.2.4") == [second]
        assert queries.find_studies(connection, "A1") == [first, second]
        for unknown in ("", "A", "a1", "1.2", "%"):
            assert queries.find_studies(connection, unknown) == []


def test_the_history_of_a_study_that_only_came_has_its_series_and_nothing_else(engine: Engine) -> None:
    with engine.begin() as connection:
        study_id = receive(connection, 1)
        receive(connection, 1, study="1.2.4")
        known = queries.history(connection, study_id)
    assert [row["series_instance_uid"] for row in known.series] == ["1.2.3.1"]
    assert (known.analysis, known.verdicts, known.objects, known.deliveries) == (None, [], [], [])
    assert (known.last_error, known.hops_s) == (None, {})
    assert [event["kind"] for event in known.events] == ["received"]


def test_the_history_shows_the_revision_that_says_something(engine: Engine) -> None:
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection, 1))
        analysed(connection, held, written(1, "pacs"))
        unchanged = claimed(connection, ready_revision(connection, 2))
        assert leases.finish(connection, unchanged, RevisionState.UNCHANGED)
        known = queries.history(connection, held.study_id)
    assert (known.row["revision"], len(known.deliveries)) == (1, 1)
    assert known.analysis is not None


def test_the_history_has_no_deliveries_of_an_earlier_revision(engine: Engine) -> None:
    with engine.begin() as connection:
        analysed(connection, claimed(connection, ready_revision(connection, 1)), written(1, "pacs"))
        held = claimed(connection, ready_revision(connection, 2))
        analysed(connection, held, written(2, "pacs"), written(3))
        known = queries.history(connection, held.study_id)
    assert [delivery["sop_instance_uid"] for delivery in known.deliveries] == ["2.25.2"]
    assert [(item.sop_instance_uid, item.state, item.destination) for item in known.objects] == [
        ("2.25.2", "waiting", "pacs"),
        ("2.25.3", "written", None),
    ]


def test_an_object_stands_in_the_history_once_per_destination_in_the_order_of_their_names(
    engine: Engine,
) -> None:
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection))
        analysed(connection, held, written(1, "pacs", "archive"), written(2, "pacs"))
        stored(connection, sending_right(connection, "archive"))
        known = queries.history(connection, held.study_id)
    assert [(item.sop_instance_uid, item.destination, item.state) for item in known.objects] == [
        ("2.25.1", "archive", "stored"),
        ("2.25.1", "pacs", "waiting"),
        ("2.25.2", "pacs", "waiting"),
    ]


def test_the_history_of_a_failed_attempt_has_its_error(engine: Engine) -> None:
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection))
        leases.give_back(connection, held, "ValueError: broken")
        assert queries.history(connection, held.study_id).last_error == "ValueError: broken"


def test_hops_are_told_where_both_of_their_ends_are_known(engine: Engine) -> None:
    times = {"received_at": NOW, "ready_at": NOW + timedelta(seconds=5.25), "analysed_at": None}
    with engine.begin() as connection:
        study_id = receive(connection, 1)
        known = queries.history(connection, study_id)
    shown = replace(known, row={**times, "stored_at": NOW + timedelta(seconds=9)})
    assert shown.hops_s == {"received_to_ready": 5.25, "ready_to_stored": 3.75}


def test_the_history_of_an_unknown_study_is_an_error(engine: Engine) -> None:
    with engine.begin() as connection, pytest.raises(NoResultFound):
        queries.history(connection, 1)


def test_an_event_goes_with_the_move_that_it_tells_of(engine: Engine) -> None:
    """They are one transaction: what is rolled back never happened."""
    with engine.begin() as connection:
        study_id = receive(connection, 1)
        with connection.begin_nested() as move:
            connection.execute(text("update studies set state = 'quiet'"))
            events.record(connection, "quiet", study_id=study_id)
            move.rollback()
        events.record(connection, "noted", attempt=2, why="because")
        rows = connection.execute(select(Event.kind, Event.study_id, Event.revision_id, Event.detail))
        assert rows.all() == [
            ("received", study_id, None, {}),
            ("noted", None, None, {"attempt": 2, "why": "because"}),
        ]


def test_the_newest_revision_of_the_studies_received_last_is_found(engine: Engine) -> None:
    with engine.begin() as connection:
        ids = _received(connection, a=30, b=20, c=10)
        older, newer = ready_revision(connection, study="1.2.a"), ready_revision(connection, 3, study="1.2.a")
        other = ready_revision(connection, study="1.2.b")
        assert older < newer
        assert queries.newest_revisions(connection, limit=5) == [(ids["b"], other), (ids["a"], newer)]
        assert queries.newest_revisions(connection, limit=1) == [(ids["b"], other)]
        assert queries.newest_revisions(connection, limit=5, study_ids=[ids["a"]]) == [(ids["a"], newer)]
        assert queries.newest_revisions(connection, limit=5, study_ids=[]) == []
