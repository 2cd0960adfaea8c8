"""A study once more: the instances of its newest revision, unless it is about to be analysed anyway."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Connection, Engine, select, text
from sqlalchemy.exc import NoResultFound

from db.studies import leases, repeat
from db.studies.instances import record_instances
from db.tables import Event, Revision, RevisionInstance, Study
from neurotriage.core.states import RevisionState
from neurotriage.core.values import REPROCESSED
from tests.db.rows import (
    NOW,
    RECEPTION,
    claimed,
    event_kinds,
    header,
    ready_revision,
    receive,
)


def _ended(
    connection: Connection, *numbers: int, study: str = "1.2.3", state: RevisionState = RevisionState.ANALYSED
) -> int:
    """A study whose newest revision ended in a state; its id."""
    held = claimed(connection, ready_revision(connection, *numbers, study=study))
    assert leases.finish(connection, held, state)
    return held.study_id


def test_a_repetition_has_the_instances_and_the_digest_of_the_newest_revision(engine: Engine) -> None:
    with engine.begin() as connection:
        _ended(connection, 1)
        study_id = _ended(connection, 2, 3)
        made = repeat.repeat(connection, study_id, completed_by="recall")
        assert (made.study_instance_uid, made.number, made.skipped) == ("1.2.3", 3, "")
        rows = connection.execute(select(Revision.id, Revision.digest).order_by(Revision.number)).all()
        instances = {
            row.id: connection.execute(
                select(RevisionInstance.instance_id).where(RevisionInstance.revision_id == row.id)
            )
            .scalars()
            .all()
            for row in rows
        }
        assert rows[2].digest == rows[1].digest != rows[0].digest
        assert sorted(instances[rows[2].id]) == sorted(instances[rows[1].id])
        assert len(instances[rows[2].id]) == 3


def test_of_a_study_to_which_images_still_arrive_none_is_made(engine: Engine) -> None:
    with engine.begin() as connection:
        study_id = _ended(connection, 1)
        receive(connection, 2)
        assert repeat.repeat(connection, study_id, completed_by="recall").skipped == repeat.OPEN


@pytest.mark.parametrize("claim", [False, True])
def test_of_a_study_that_waits_or_is_analysed_none_is_made(engine: Engine, claim: bool) -> None:
    with engine.begin() as connection:
        study_id = _ended(connection, 1)
        made = repeat.repeat(connection, study_id, completed_by="recall")
        assert made.revision_id is not None
        if claim:
            claimed(connection, made.revision_id)
        again = repeat.repeat(connection, study_id, completed_by="recall")
        assert (again.revision_id, again.skipped) == (None, repeat.PENDING)


def test_another_study_that_waits_is_no_obstacle(engine: Engine) -> None:
    with engine.begin() as connection:
        study_id = _ended(connection, 1)
        ready_revision(connection, 1, study="1.2.4")
        assert repeat.repeat(connection, study_id, completed_by="recall").revision_id is not None


def test_of_a_study_that_was_never_complete_none_is_made(engine: Engine) -> None:
    with engine.begin() as connection:
        study_id = receive(connection, 1)
        connection.execute(text("update studies set state = 'quiet'"))  # a result of ours alone
        assert repeat.repeat(connection, study_id, completed_by="recall").skipped == repeat.NOTHING


def test_an_unknown_study_is_an_error(engine: Engine) -> None:
    with engine.begin() as connection, pytest.raises(NoResultFound):
        repeat.repeat(connection, 1, completed_by="recall")


def test_the_reason_of_a_reprocess_is_kept_and_a_skipped_one_leaves_no_event(engine: Engine) -> None:
    with engine.begin() as connection:
        study_id = _ended(connection, 1)
        made = repeat.reprocess(connection, study_id, reason="asked for by phone")
        assert repeat.reprocess(connection, study_id, reason="again").revision_id is None
        events = connection.execute(
            select(Event.revision_id, Event.detail).where(Event.kind == "reprocessed")
        ).all()
        assert events == [(made.revision_id, {"reason": "asked for by phone"})]
        completed_by = connection.execute(select(Revision.completed_by).where(Revision.number == 2))
        assert completed_by.scalar_one() == REPROCESSED


@pytest.mark.parametrize(
    ("states", "failed"),
    [
        ([RevisionState.FAILED], True),
        ([RevisionState.FAILED, RevisionState.UNCHANGED], True),
        ([RevisionState.FAILED, RevisionState.ANALYSED], False),
        ([RevisionState.ANALYSED, RevisionState.FAILED], True),
        ([RevisionState.UNCHANGED], False),
    ],
)
def test_a_study_failed_where_its_newest_revision_that_says_something_did(
    engine: Engine, states: list[RevisionState], failed: bool
) -> None:
    with engine.begin() as connection:
        for number, state in enumerate(states):
            study_id = _ended(connection, number, state=state)
        rows = connection.execute(select(Study.id).where(repeat.last_failed())).scalars().all()
        assert rows == ([study_id] if failed else [])


def test_a_failed_study_that_waits_again_is_no_failed_one(engine: Engine) -> None:
    with engine.begin() as connection:
        study_id = _ended(connection, 1, state=RevisionState.FAILED)
        _ended(connection, 1, study="1.2.4", state=RevisionState.FAILED)
        repeat.reprocess(connection, study_id, reason="again")
        wanted, total = repeat.candidates(connection, failed=True, since=None, limit=10)
        assert (study_id in wanted, total) == (False, 1)


def test_candidates_come_newest_first_by_arrival_then_by_number_and_are_counted_beyond_the_limit(
    engine: Engine,
) -> None:
    arrivals_s = {"1.2.3": 30, "1.2.4": 50, "1.2.5": 30, "1.2.6": 10}
    with engine.begin() as connection:
        for study, seconds in arrivals_s.items():
            reception = replace(RECEPTION, received_at=NOW + timedelta(seconds=seconds))
            record_instances(connection, [(header(1, study=study), reception)])
        ids = list(connection.execute(select(Study.id).order_by(Study.study_instance_uid)).scalars())
        third, fourth, fifth, sixth = ids
        assert repeat.candidates(connection, failed=False, since=None, limit=9) == (
            [fourth, fifth, third, sixth],
            4,
        )
        assert repeat.candidates(connection, failed=False, since=None, limit=2) == ([fourth, fifth], 4)
        since = NOW + timedelta(seconds=30)
        assert repeat.candidates(connection, failed=False, since=since, limit=1) == ([fourth], 3)
        assert repeat.candidates(connection, failed=True, since=None, limit=9) == ([], 0)


def test_a_study_of_which_nothing_was_ever_complete_is_no_candidate(engine: Engine) -> None:
    with engine.begin() as connection:
        receive(connection, 1)
        connection.execute(text("update studies set state = 'quiet'"))
        assert repeat.candidates(connection, failed=False, since=None, limit=10) == ([], 0)
        assert event_kinds(connection) == ["received"]
