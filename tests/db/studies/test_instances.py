"""Instances to rows, studies to revisions."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, func, select, text

from db.studies import assembly, leases
from db.studies.instances import record_instances
from db.tables import Instance, RevisionInstance, Study
from neurotriage.core.states import RevisionState, StudyState
from neurotriage.dicom.headers import InstanceHeader
from tests.db.rows import (
    NOW,
    RECEPTION,
    STUDY,
    analysed,
    claimed,
    header,
    ready_revision,
    receive,
    study_state,
    written,
)


def test_the_same_instance_twice_is_one_row_and_does_not_reopen_the_study(engine: Engine) -> None:
    with engine.begin() as connection:
        ready_revision(connection, 1)
        assert record_instances(connection, [(header(1), RECEPTION)]) == [False]
        assert connection.execute(select(Instance.times_received)).scalars().all() == [2]
    assert study_state(engine) == StudyState.QUIET


def test_the_same_instances_start_a_study_again_that_failed(engine: Engine) -> None:
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection, 1, 2))
        assert leases.finish(connection, held, RevisionState.FAILED)
        record_instances(connection, [(header(1), RECEPTION)])  # one of its images is enough
    assert study_state(engine) == StudyState.OPEN
    with engine.begin() as connection:
        again = assembly.freeze(connection, held.study_id, idle_s=0, completed_by="quiet")
        assert again is not None
        counts = connection.execute(
            select(func.count()).select_from(RevisionInstance).group_by(RevisionInstance.revision_id)
        )
        assert counts.scalars().all() == [2, 2]
        # It waits now: what comes once more only counts.
        record_instances(connection, [(header(2), RECEPTION)])
    assert study_state(engine) == StudyState.QUIET


def test_what_does_not_count_starts_nothing_again(engine: Engine) -> None:
    result = result_header(5, creator_uid="1.2.3.4")
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection, 1))
        record_instances(connection, [(header(1, content="other"), RECEPTION)])
        record_instances(connection, [(result, RECEPTION)], installations=("1.2.3.4",))
        assert leases.finish(connection, held, RevisionState.FAILED)
        record_instances(connection, [(header(1, content="other"), RECEPTION)])
        record_instances(connection, [(result, RECEPTION)], installations=("1.2.3.4",))
    assert study_state(engine) == StudyState.QUIET


def test_other_bytes_under_the_same_uid_are_kept_and_the_first_counts(engine: Engine) -> None:
    with engine.begin() as connection:
        receive(connection, 1)
        assert record_instances(connection, [(header(1, content="other"), RECEPTION)]) == [False]
        rows = connection.execute(select(Instance.counts).order_by(Instance.id)).scalars().all()
        assert rows == [True, False]


SC = "1.2.840.10008.5.1.4.1.1.7"


def result_header(number: int, **more: Any) -> InstanceHeader:
    """A Secondary Capture that says we made it, with the UID that ``written(number)`` has."""
    fields: dict[str, Any] = {"sop_instance_uid": f"2.25.{number}", "sop_class_uid": SC, **more}
    return replace(header(number, claims_ours=True), **fields)


def _sent_results(connection: Connection, *numbers: int) -> None:
    held = claimed(connection, ready_revision(connection, 1))
    analysed(connection, held, *(written(number) for number in numbers))


def test_our_own_results_never_open_a_study(engine: Engine) -> None:
    with engine.begin() as connection:
        _sent_results(connection, 7, 8)
        record_instances(connection, [(result_header(7), RECEPTION)])
        elsewhere = result_header(8, study_instance_uid="1.2.9")  # an archive moved it to another study
        record_instances(connection, [(elsewhere, RECEPTION)])
        states = connection.execute(select(Study.state)).scalars().all()
        assert states == [StudyState.QUIET, StudyState.QUIET]
        own = select(func.count(Instance.id)).where(Instance.own_result)
        assert connection.execute(own).scalar_one() == 2


@pytest.mark.parametrize(
    "more",
    [
        {"sop_instance_uid": "2.25.9"},  # not in our records
        {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.4"},  # an image under the UID of a result
        {"creator_uid": "1.2.3.4"},
    ],
)
def test_what_merely_says_that_we_made_it_is_an_instance_like_any_other(
    engine: Engine, more: dict[str, str]
) -> None:
    with engine.begin() as connection:
        _sent_results(connection, 7)
        came = result_header(7, **{"sop_instance_uid": "2.25.9", **more} if "creator_uid" in more else more)
        assert record_instances(connection, [(came, RECEPTION)]) == [True]
        assert connection.execute(select(Study.state)).scalar_one() == StudyState.OPEN
        event_kinds = connection.execute(text("select kind from events")).scalars().all()
    assert "claims_to_be_ours" in event_kinds


def test_results_of_an_installation_that_is_named_are_recognised_and_its_images_are_not(
    engine: Engine,
) -> None:
    other = result_header(9, creator_uid="1.2.3.4")
    image = replace(header(3, claims_ours=True), creator_uid="1.2.3.4")
    with engine.begin() as connection:
        ready_revision(connection, 1)
        record_instances(connection, [(other, RECEPTION)], installations=("1.2.3.4",))
        assert connection.execute(select(Study.state)).scalar_one() == StudyState.QUIET
        record_instances(connection, [(image, RECEPTION)], installations=("1.2.3.4",))
        assert connection.execute(select(Study.state)).scalar_one() == StudyState.OPEN


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_what_merely_says_that_we_made_it_makes_way_for_the_image_itself(
    engine: Engine, together: bool, frozen: bool
) -> None:
    spoofed, real = header(1, content="spoofed", claims_ours=True), header(1)
    batches = [[spoofed, real]] if together else [[spoofed], [real]]
    with engine.begin() as connection:
        for number, batch in enumerate(batches):
            if frozen and number:
                study_id = connection.execute(select(Study.id)).scalar_one()
                assert assembly.freeze(connection, study_id, idle_s=0, completed_by="quiet")
            assert record_instances(connection, [(instance, RECEPTION) for instance in batch])[-1]
        rows = connection.execute(select(Instance.counts).order_by(Instance.id)).scalars().all()
        assert rows == [False, True]
        assert connection.execute(select(Study.state)).scalar_one() == StudyState.OPEN
        # Neither does it come back, nor does a third one take the place.
        again = [(spoofed, RECEPTION), (header(1, content="third"), RECEPTION)]
        assert record_instances(connection, again) == [False, False]


def test_another_uid_on_the_wire_than_in_the_data_set_is_an_event(engine: Engine) -> None:
    came = replace(RECEPTION, affected_sop_instance_uid="1.2.3.99")
    same = replace(RECEPTION, affected_sop_instance_uid=header(2).sop_instance_uid)
    with engine.begin() as connection:
        record_instances(connection, [(header(1), came), (header(1), came), (header(2), same)])
        query = "select detail from events where kind = 'affected_uid_differs'"
        assert connection.execute(text(query)).scalars().all() == [
            {"sop_instance_uid": "1.2.3.9.1", "affected_sop_instance_uid": "1.2.3.99"}
        ]


def test_many_writers_of_one_instance_leave_one_row(engine: Engine) -> None:
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
        *(header(1, study="1.2.9", claims_ours=True), header(3, patient="P2"), header(1, study="1.2.1")),
        *(header(1, study="1.2.9"), header(4, claims_ours=True), header(4, content="x"), other),
    ]
    with engine.connect() as connection:
        receive(connection, 2)  # one of them is known already
        before = connection.begin_nested()
        singly = [record_instances(connection, [(instance, RECEPTION)])[0] for instance in came]
        rows = _all_rows(connection)
        before.rollback()
        assert record_instances(connection, [(instance, RECEPTION) for instance in came]) == singly
        assert _all_rows(connection) == rows
    assert singly == [
        *(True, False, False, False, False, False, False, True, True, True),
        *(False, True, True, False),
    ]


def test_a_batch_costs_as_many_statements_as_one_instance(engine: Engine) -> None:
    def statements(numbers: range) -> int:
        count = itertools.count()
        with engine.connect() as connection:
            event.listen(connection, "before_cursor_execute", lambda *_: next(count))
            record_instances(connection, [(header(number), RECEPTION) for number in numbers])
        return next(count)

    assert statements(range(64)) == statements(range(1)) < 14


def test_a_study_and_its_series_are_named_by_what_came_first(engine: Engine) -> None:
    later = replace(header(2), patient_id="", study_description="later", series_description="later")
    with engine.begin() as connection:
        for instance in (header(1), later):
            record_instances(connection, [(instance, RECEPTION)])
        row = connection.execute(select(Study.patient_id, Study.description, Study.first_received_at)).one()
        assert tuple(row) == ("P1", "", NOW)
        assert connection.execute(text("select description from series")).scalars().all() == ["T1"]


def test_one_series_uid_in_two_studies_is_two_series(engine: Engine) -> None:
    with engine.begin() as connection:
        for study in ("1.2.3", "1.2.4"):
            instance = replace(header(1, study=study), series_instance_uid="1.2.9")
            record_instances(connection, [(instance, RECEPTION)])
        rows = connection.execute(text("select count(*), count(distinct study_id) from series")).one()
        assert tuple(rows) == (2, 2)


def test_one_instance_uid_in_two_studies_counts_in_both(engine: Engine) -> None:
    with engine.begin() as connection:
        for study in ("1.2.3", "1.2.4"):
            instance = replace(header(1, study=study), sop_instance_uid="1.2.9.9")
            assert record_instances(connection, [(instance, RECEPTION)]) == [True]


def test_what_comes_again_changes_neither_study_nor_series(engine: Engine) -> None:
    with engine.begin() as connection:
        record_instances(connection, [(header(1), RECEPTION)])
        before = _all_rows(connection)
        assert record_instances(connection, [(header(1), RECEPTION)]) == [False]
        assert _all_rows(connection)[:2] == before[:2]


def test_other_bytes_under_a_uid_are_an_event_of_their_study(engine: Engine) -> None:
    with engine.begin() as connection:
        receive(connection, 1)
        record_instances(connection, [(header(1, content="other"), RECEPTION)])
        detail = connection.execute(
            text("select detail from events where kind = 'same_uid_other_bytes'")
        ).scalar_one()
        assert detail == {"sop_instance_uid": "1.2.3.9.1"}


def test_other_bytes_under_a_known_uid_do_not_open_a_study_that_was_frozen(engine: Engine) -> None:
    with engine.begin() as connection:
        ready_revision(connection, 1)
        record_instances(connection, [(header(1, content="other"), RECEPTION)])
    assert study_state(engine) == StudyState.QUIET


def test_two_batches_of_the_same_studies_in_opposite_order_never_wait_for_each_other(engine: Engine) -> None:
    """Both lock the studies in the order of their UIDs, so neither runs into a deadlock."""
    studies = [f"1.2.{number}" for number in range(8)]
    together = Barrier(2)

    def write(order: list[str]) -> int:
        made = 0
        for number in range(5):
            together.wait(30)
            with engine.begin() as connection:
                batch = [(header(number, study=study), RECEPTION) for study in order]
                made += sum(record_instances(connection, batch))
        return made

    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(write, (studies, studies[::-1]))) == 5 * len(studies)
