"""An open study becomes a frozen revision once, by its own clock."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier

import pytest
from sqlalchemy import Connection, Engine, select, text

from db.studies import assembly, leases
from db.studies.arrivals import open_studies, read_arrivals
from db.studies.instances import record_instances
from db.tables import Event, Instance, Revision, RevisionInstance, Study
from neurotriage.core.states import RevisionState, StudyState
from tests.db.rows import (
    NOW,
    RECEPTION,
    analysed,
    claimed,
    event_kinds,
    header,
    ready_revision,
    receive,
    study_state,
    written,
)


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
        assert assembly.freeze(connection, study_id, idle_s=60, completed_by="quiet") is None
    assert study_state(engine) == StudyState.OPEN


def test_two_patients_under_one_study_uid_are_noted(engine: Engine) -> None:
    with engine.begin() as connection:
        receive(connection, 1)
        record_instances(connection, [(header(2, patient="P2"), RECEPTION)])
        study_id = connection.execute(select(Study.id)).scalar_one()
        assembly.freeze(connection, study_id, idle_s=0, completed_by="quiet")
        conflict = connection.execute(select(Revision.conflict)).scalar_one()
        assert conflict is not None
        assert "2 different patients" in conflict


def test_the_clock_of_a_study_starts_when_its_instance_came_and_not_when_it_was_recorded(
    engine: Engine,
) -> None:
    now = NOW + timedelta(seconds=40)
    with engine.begin() as connection:
        record_instances(connection, [(header(1), RECEPTION)], now=now)
        (study,) = open_studies(connection)
        assert 40 <= study.idle_s < 50
        (arrival,) = read_arrivals(connection, study).arrivals
        assert arrival.peer == ("SCANNER", "127.0.0.1")
        # One that came before, and was recorded later, does not turn the clock back.
        earlier = replace(RECEPTION, received_at=NOW - timedelta(seconds=100))
        record_instances(connection, [(header(2), earlier)], now=now)
        assert [study.idle_s < 50 for study in open_studies(connection)] == [True]
        record_instances(connection, [(header(3), replace(RECEPTION, received_at=now))], now=now)
        assert [study.idle_s < 20 for study in open_studies(connection)] == [True]


def _freeze(connection: Connection, study_id: int) -> int | None:
    return assembly.freeze(connection, study_id, idle_s=0, completed_by="quiet")


def _frozen(connection: Connection, revision_id: int) -> list[str]:
    """SOP Instance UIDs of a revision."""
    rows = connection.execute(
        select(Instance.sop_instance_uid)
        .join(RevisionInstance, RevisionInstance.instance_id == Instance.id)
        .where(RevisionInstance.revision_id == revision_id)
        .order_by(Instance.id)
    )
    return list(rows.scalars())


def test_of_many_processes_that_freeze_a_study_at_once_one_makes_a_revision(engine: Engine) -> None:
    with engine.begin() as connection:
        study_id = receive(connection, 1)
    together = Barrier(4)

    def freeze(_: int) -> bool:
        together.wait(10)
        with engine.begin() as connection:
            return _freeze(connection, study_id) is not None

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(freeze, range(4))) == 1
    with engine.connect() as connection:
        assert connection.execute(select(Revision.number)).scalars().all() == [1]


def test_a_revision_has_its_studys_instances_that_count_and_are_not_ours(engine: Engine) -> None:
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection, 1))
        analysed(connection, held, written(7))
        ours = replace(header(7), sop_instance_uid="2.25.7", sop_class_uid="1.2.840.10008.5.1.4.1.1.7")
        for instance in (ours, header(1, content="other"), header(2), header(3, study="1.2.4")):
            record_instances(connection, [(instance, RECEPTION)])
        revision_id = _freeze(connection, held.study_id)
        assert revision_id is not None
        assert _frozen(connection, revision_id) == ["1.2.3.9.1", "1.2.3.9.2"]


def test_a_study_that_has_nothing_new_closes_without_a_revision(engine: Engine) -> None:
    with engine.begin() as connection:
        revision_id = ready_revision(connection, 1)
        study_id = connection.execute(select(Study.id)).scalar_one()
        connection.execute(text("update studies set state = 'open'"))
        assert _freeze(connection, study_id) is None
        assert connection.execute(select(Revision.id)).scalars().all() == [revision_id]
        assert event_kinds(connection)[-1] == "quiet"
    assert study_state(engine) == StudyState.QUIET


def test_a_study_that_failed_gets_a_revision_of_the_same_instances(engine: Engine) -> None:
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection, 1))
        leases.finish(connection, held, RevisionState.FAILED)
        connection.execute(text("update studies set state = 'open'"))
        assert _freeze(connection, held.study_id) is not None
        rows = connection.execute(select(Revision.number, Revision.digest).order_by(Revision.id)).all()
    assert [row.number for row in rows] == [1, 2]
    assert rows[0].digest == rows[1].digest


def test_a_closed_or_unknown_study_is_not_frozen(engine: Engine) -> None:
    with engine.begin() as connection:
        ready_revision(connection, 1)
        study_id = connection.execute(select(Study.id)).scalar_one()
        assert _freeze(connection, study_id) is None
        assert _freeze(connection, study_id + 1) is None
        assert event_kinds(connection) == ["received", "quiet", "ready"]


def test_the_evidence_that_completed_a_study_is_kept(engine: Engine) -> None:
    with engine.begin() as connection:
        study_id = receive(connection, 1)
        assembly.freeze(connection, study_id, idle_s=0, completed_by="association closed")
        assert connection.execute(select(Revision.completed_by)).scalar_one() == "association closed"
        detail = connection.execute(select(Event.detail).where(Event.kind == "quiet")).scalar_one()
        assert detail == {"completed_by": "association closed"}


def test_studies_are_offered_longest_idle_first_and_only_while_they_are_open(engine: Engine) -> None:
    ages_s = {"1.2.3": 50, "1.2.4": 90, "1.2.5": 70}
    with engine.begin() as connection:
        ready_revision(connection, 1, study="1.2.6")
        for study, age_s in ages_s.items():
            reception = replace(RECEPTION, received_at=NOW - timedelta(seconds=age_s))
            record_instances(connection, [(header(1, study=study), reception)], now=NOW)
        ids = {
            row.study_instance_uid: row.id
            for row in connection.execute(select(Study.study_instance_uid, Study.id))
        }
        offered = [study.id for study in open_studies(connection) if study.idle_s >= 60]
        assert offered == [ids["1.2.4"], ids["1.2.5"]]


def test_a_study_knows_every_peer_that_sent_of_it_once(engine: Engine) -> None:
    peers = [("CT1", "10.0.0.1"), ("CT1", "10.0.0.2"), ("PACS", "10.0.0.1"), ("CT1", "10.0.0.1")]
    with engine.begin() as connection:
        for number, (title, host) in enumerate(peers):
            reception = replace(RECEPTION, peer_ae_title=title, peer_host=host)
            record_instances(connection, [(header(number), reception)])
        record_instances(connection, [(header(1, study="1.2.4"), RECEPTION)])
        first, second = (
            {arrival.peer for arrival in read_arrivals(connection, study).arrivals}
            for study in sorted(open_studies(connection), key=lambda study: study.id)
        )
    assert first == set(peers)
    assert second == {("SCANNER", "127.0.0.1")}


@pytest.mark.parametrize("claims_ours", [False, True])
def test_another_patient_in_an_image_is_a_conflict_whoever_it_says_has_made_it(
    engine: Engine, claims_ours: bool
) -> None:
    with engine.begin() as connection:
        study_id = receive(connection, 1)
        record_instances(connection, [(header(2, patient="P2", claims_ours=claims_ours), RECEPTION)])
        _freeze(connection, study_id)
        assert connection.execute(select(Revision.conflict)).scalar_one() is not None


def test_another_patient_in_another_study_or_in_a_result_that_names_us_is_no_conflict(engine: Engine) -> None:
    result = replace(header(3, patient="P3", claims_ours=True), sop_class_uid="1.2.840.10008.5.1.4.1.1.7")
    with engine.begin() as connection:
        study_id = receive(connection, 1)
        for instance in (header(2, study="1.2.4", patient="P2"), result):
            record_instances(connection, [(instance, RECEPTION)])
        _freeze(connection, study_id)
        conflict = select(Revision.conflict).where(Revision.study_id == study_id)
        assert connection.execute(conflict).scalar_one() is None


def test_each_study_counts_its_own_revisions(engine: Engine) -> None:
    with engine.begin() as connection:
        ready_revision(connection, 1)
        ready_revision(connection, 1, study="1.2.4")
        ready_revision(connection, 2)
        rows = connection.execute(
            select(Study.study_instance_uid, Revision.number)
            .join(Revision, Revision.study_id == Study.id)
            .order_by(Revision.id)
        )
        assert rows.all() == [("1.2.3", 1), ("1.2.4", 1), ("1.2.3", 2)]
