"""First looks are bounded, leave the study open, and are always followed by the whole study."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import Connection, Engine, TextClause, select, text

from db.studies import assembly
from db.studies.arrivals import open_studies, read_arrivals
from db.studies.associations import AssociationEnd, ended, record_ended
from db.studies.instances import record_instances
from db.tables import Association, Event, Revision, RevisionInstance, Series
from neurotriage.core.placement import Placement
from neurotriage.core.states import RevisionState, StudyState
from neurotriage.core.values import EARLY
from tests.conftest import until
from tests.db.rows import NOW, RECEPTION, claimed, header, receive, study_state


def _receive(connection: Connection, number: int, series: int = 1) -> int:
    placement = Placement("0.00,0.00,1.00 64x64", 5.0 * number, 0.0, 1, 3, 30)
    image = replace(header(number), series_instance_uid=f"1.2.3.{series}", placement=placement)
    record_instances(connection, [(image, replace(RECEPTION, association_id="a1"))])
    return receive(connection)


def _series(connection: Connection) -> list[int]:
    return list(connection.execute(select(Series.id).order_by(Series.id)).scalars())


def _look(connection: Connection, study: int, *series: int, at_most: int = 2) -> int | None:
    return assembly.freeze_early(connection, study, series, at_most=at_most, evidence="closed")


def _frozen(connection: Connection, revision: int | None) -> int:
    rows = select(RevisionInstance.instance_id).where(RevisionInstance.revision_id == revision)
    return len(connection.execute(rows).all())


def test_a_first_look_has_its_series_only_and_the_whole_study_follows_though_nothing_came(
    engine: Engine,
) -> None:
    with engine.begin() as connection:
        study = _receive(connection, 1, series=1)
        _receive(connection, 2, series=2)
        first, second = _series(connection)
        assert _frozen(connection, _look(connection, study, first)) == 1
        assert _frozen(connection, _look(connection, study, first, second)) == 2
        whole = assembly.freeze(connection, study, idle_s=0, completed_by="released", evidence="why")
        assert _frozen(connection, whole) == 2
        made = connection.execute(select(Revision.completed_by, Revision.number).order_by(Revision.id))
        assert [tuple(row) for row in made] == [(EARLY, 1), (EARLY, 2), ("released", 3)]
        detail = connection.execute(select(Event.detail).where(Event.kind == "quiet")).scalar_one()
        assert detail == {"completed_by": "released", "evidence": "why"}
    assert study_state(engine) == StudyState.QUIET


def test_there_are_no_more_first_looks_than_allowed_and_none_after_the_whole_study(engine: Engine) -> None:
    with engine.begin() as connection:
        study = _receive(connection, 1)
        (series,) = _series(connection)
        assert _look(connection, study, series, at_most=1)
        assert _look(connection, study, series, at_most=1) is None
        assembly.freeze(connection, study, idle_s=0, completed_by="quiet")
        assert _look(connection, study, series, at_most=8) is None  # not open
        _receive(connection, 2)
        assert _look(connection, study, series, at_most=8) is None


@pytest.mark.parametrize("begun", [False, True])
def test_a_first_look_that_nobody_began_ends_with_the_whole_study(engine: Engine, begun: bool) -> None:
    with engine.begin() as connection:
        study = _receive(connection, 1)
        look = _look(connection, study, *_series(connection))
        assert look is not None
        if begun:
            claimed(connection, look)
        assembly.freeze(connection, study, idle_s=0, completed_by="quiet")
        state = connection.execute(select(Revision.state).where(Revision.id == look)).scalar_one()
    assert state == (RevisionState.ANALYSING if begun else RevisionState.UNCHANGED)


def test_a_command_completes_an_open_study_once(engine: Engine) -> None:
    with engine.begin() as connection:
        study = _receive(connection, 1)
        assert assembly.complete(connection, study).number == 1
        assert assembly.complete(connection, study).skipped == assembly.NO_MORE
        assert connection.execute(select(Revision.completed_by)).scalar_one() == "commanded"


def test_what_closure_needs_is_read_back_as_it_was_recorded(engine: Engine) -> None:
    with engine.begin() as connection:
        _receive(connection, 1)
        (study,) = open_studies(connection)
        known = read_arrivals(connection, study)
        (arrival,) = known.arrivals
        assert arrival.placement == Placement("0.00,0.00,1.00 64x64", 5.0, 0.0, 1, 3, 30)
        assert (arrival.association_id, arrival.came_s, arrival.frozen) == ("a1", NOW.timestamp(), False)
        assert (known.received, known.first_looks, known.completed) == (1, 0, False)
        _look(connection, study.id, *_series(connection))
        known = read_arrivals(connection, study)
        assert (known.arrivals[0].frozen, known.first_looks, known.completed) == (True, 1, False)
    with engine.begin() as connection:
        _receive(connection, 2)
        assert open_studies(connection)[0].version != study.version


def _end(name: str, *, released: bool) -> AssociationEnd:
    return AssociationEnd(name, ("CT", "h"), released, NOW)


def test_the_table_of_associations_is_bounded_and_the_first_end_counts(engine: Engine) -> None:
    with engine.begin() as connection:
        for number in range(6):
            record_ended(connection, [_end(f"a{number}", released=number != 4)], kept=3)
        record_ended(connection, [_end("a4", released=True), _end("a4", released=True)])
        assert ended(connection, {"a0", "a4", "a5", "unknown"}) == {"a4": False, "a5": True}
        assert len(connection.execute(select(Association.id)).all()) == 3


def test_a_worker_may_take_a_first_look_while_its_study_becomes_complete(engine: Engine) -> None:
    """One holds the revision and writes an event of the study; the other holds the study, too."""
    with engine.begin() as connection:
        study = _receive(connection, 1)
        look = _look(connection, study, *_series(connection))
    assert look is not None

    def complete() -> int | None:
        with engine.begin() as connection:
            return assembly.freeze(connection, study, idle_s=0, completed_by="released")

    with ThreadPoolExecutor(1) as pool, engine.begin() as worker:
        worker.execute(select(Revision.id).where(Revision.id == look).with_for_update())
        whole = pool.submit(complete)
        waits = text("select count(*) from pg_stat_activity where wait_event_type = 'Lock'")
        until(lambda: _scalar(engine, waits) == 1)
        assert claimed(worker, look).revision_id == look
        worker.commit()
        assert whole.result(30) is not None
    with engine.connect() as connection:
        states = connection.execute(select(Revision.state).order_by(Revision.id)).scalars().all()
    assert states == [RevisionState.ANALYSING, RevisionState.READY]


def _scalar(engine: Engine, statement: TextClause) -> object:
    with engine.connect() as connection:
        return connection.execute(statement).scalar()
