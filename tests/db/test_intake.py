"""Instances to rows, studies to revisions."""

import itertools

from sqlalchemy import Connection, Engine, event, func, select, text

from db import claims, intake
from db.instances import record_instances
from db.tables import Instance, Revision, RevisionInstance, RevisionState, Study, StudyState
from tests.db.rows import RECEPTION, STUDY, claimed, header, ready_revision, receive


def _state(engine: Engine) -> str:
    with engine.connect() as connection:
        return connection.execute(select(Study.state)).scalar_one()


def test_the_same_instance_twice_is_one_row_and_does_not_reopen_the_study(engine: Engine) -> None:
    with engine.begin() as connection:
        ready_revision(connection, 1)
        assert record_instances(connection, [(header(1), RECEPTION)]) == [False]
        assert connection.execute(select(Instance.times_received)).scalars().all() == [2]
    assert _state(engine) == StudyState.QUIET


def test_the_same_instances_start_a_study_again_that_failed(engine: Engine) -> None:
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection, 1, 2))
        assert claims.finish(connection, held, RevisionState.FAILED)
        record_instances(connection, [(header(1), RECEPTION)])  # one of its images is enough
    assert _state(engine) == StudyState.OPEN
    with engine.begin() as connection:
        again = intake.freeze(connection, held.study_id, idle_s=0, completed_by="quiet")
        assert again is not None
        counts = connection.execute(
            select(func.count()).select_from(RevisionInstance).group_by(RevisionInstance.revision_id)
        )
        assert counts.scalars().all() == [2, 2]
        # It waits now: what comes once more only counts.
        record_instances(connection, [(header(2), RECEPTION)])
    assert _state(engine) == StudyState.QUIET


def test_what_does_not_count_starts_nothing_again(engine: Engine) -> None:
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection, 1))
        record_instances(connection, [(header(1, content="other"), RECEPTION)])
        record_instances(connection, [(header(5, own=True), RECEPTION)])
        assert claims.finish(connection, held, RevisionState.FAILED)
        record_instances(connection, [(header(1, content="other"), RECEPTION)])
        record_instances(connection, [(header(5, own=True), RECEPTION)])
    assert _state(engine) == StudyState.QUIET


def test_other_bytes_under_the_same_uid_are_kept_and_the_first_counts(engine: Engine) -> None:
    with engine.begin() as connection:
        receive(connection, 1)
        assert record_instances(connection, [(header(1, content="other"), RECEPTION)]) == [False]
        rows = connection.execute(select(Instance.counts).order_by(Instance.id)).scalars().all()
        assert rows == [True, False]


def test_our_own_results_never_open_a_study(engine: Engine) -> None:
    with engine.begin() as connection:
        ready_revision(connection, 1)
        record_instances(connection, [(header(2, own=True), RECEPTION)])
        record_instances(connection, [(header(1, study="1.2.9", own=True), RECEPTION)])
        states = connection.execute(select(Study.state)).scalars().all()
        assert states == [StudyState.QUIET, StudyState.QUIET]


def test_a_late_instance_makes_the_next_revision(engine: Engine) -> None:
    with engine.begin() as connection:
        first = ready_revision(connection, 1)
        second = ready_revision(connection, 2)
        numbers = connection.execute(select(Revision.number).order_by(Revision.id)).scalars().all()
        assert first != second
        assert numbers == [1, 2]


def test_a_study_that_is_not_idle_is_not_frozen(engine: Engine) -> None:
    with engine.begin() as connection:
        study_id = receive(connection, 1)
        assert intake.freeze(connection, study_id, idle_s=60, completed_by="quiet") is None
    assert _state(engine) == StudyState.OPEN


def test_two_patients_under_one_study_uid_are_noted(engine: Engine) -> None:
    with engine.begin() as connection:
        receive(connection, 1)
        record_instances(connection, [(header(2, patient="P2"), RECEPTION)])
        study_id = connection.execute(select(Study.id)).scalar_one()
        intake.freeze(connection, study_id, idle_s=0, completed_by="quiet")
        conflict = connection.execute(select(Study.conflict)).scalar_one()
        assert conflict is not None
        assert "2 different patients" in conflict


def test_many_writers_of_one_instance_leave_one_row(engine: Engine) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def write(_: int) -> bool:
        with engine.begin() as connection:
            (new,) = record_instances(connection, [(header(1), RECEPTION)])
            return new

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(write, range(8))) == 1
    with engine.connect() as connection:
        assert connection.execute(select(func.count(Instance.id))).scalar_one() == 1
        assert connection.execute(select(Study.study_instance_uid)).scalar_one() == STUDY


def _all_rows(connection: Connection) -> list[list[tuple[object, ...]]]:
    questions = (
        "select study_instance_uid, state, patient_id from studies order by 1",
        "select series_instance_uid from series order by 1",
        "select sop_instance_uid, digest, counts, own_result, times_received from instances order by 1, 2",
        "select kind, detail ->> 'sop_instance_uid' from events order by 1, 2",
    )
    return [[tuple(row) for row in connection.execute(text(question))] for question in questions]


def test_a_batch_leaves_the_rows_that_its_instances_leave_one_by_one(engine: Engine) -> None:
    other = header(1, content="other")
    came = [
        *(header(1), other, header(1), other, header(2), header(2), header(2)),
        *(header(1, study="1.2.9", own=True), header(3, patient="P2"), header(1, study="1.2.1")),
    ]
    with engine.connect() as connection:
        receive(connection, 2)  # one of them is known already
        before = connection.begin_nested()
        singly = [record_instances(connection, [(one, RECEPTION)])[0] for one in came]
        rows = _all_rows(connection)
        before.rollback()
        assert record_instances(connection, [(one, RECEPTION) for one in came]) == singly
        assert _all_rows(connection) == rows
    assert singly == [True, False, False, False, False, False, False, True, True, True]


def test_a_batch_costs_as_many_statements_as_one_instance(engine: Engine) -> None:
    def statements(numbers: range) -> int:
        count = itertools.count()
        with engine.connect() as connection:
            event.listen(connection, "before_cursor_execute", lambda *_: next(count))
            record_instances(connection, [(header(number), RECEPTION) for number in numbers])
        return next(count)

    assert statements(range(64)) == statements(range(1)) < 10
