"""Which of several copies of a picture stands, whose the study's row is, and what can be sent once more."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Connection, Engine, select, text

from db import queries
from db.corrections import rejections
from db.corrections.withdrawal import withdrawn
from db.delivery import deliveries
from db.studies.instances import record_instances
from db.tables import Instance, Study
from neurotriage.core.rejection import RejectionTitle
from neurotriage.core.result_json import unanalysed_entry
from neurotriage.dicom.headers import InstanceHeader
from neurotriage.dicom.patients import patient_key
from tests.conftest import until
from tests.db.corrections.test_corrections import _come, _conflict, _correct, _frozen
from tests.db.corrections.test_orders import image, note
from tests.db.rows import RECEPTION, STUDY, analysed, claimed, written


def _come_at(connection: Connection, header: InstanceHeader, second: int) -> None:
    """Recorded now, and received at another time."""
    at = RECEPTION.received_at + timedelta(seconds=second)
    record_instances(connection, [(header, replace(RECEPTION, received_at=at))])


def _standing(connection: Connection) -> list[tuple[str, str | None]]:
    """The patients of the copies that count, and why the others do not."""
    names = {image(1, patient).patient_key: patient for patient in "AB"}
    rows = connection.execute(select(Instance.patient_key, Instance.removed).order_by(Instance.id))
    return [(names[row.patient_key], row.removed) for row in rows]


def test_the_copy_that_was_sent_last_stands_whichever_is_recorded_first(engine: Engine) -> None:
    with engine.begin() as connection:
        _come_at(connection, image(1, "B"), 60)
        _come_at(connection, image(1, "A"), 0)
        assert _standing(connection) == [("B", None), ("A", "replaced")]
        _come_at(connection, image(1, "A"), 120)
        assert _standing(connection) == [("B", "replaced"), ("A", None)]


def test_a_rejected_copy_that_another_had_replaced_does_not_come_back(engine: Engine) -> None:
    with engine.begin() as connection:
        study_id = _come(connection, image(1, "A"), image(1, "B"))
        _come(connection, note(frozenset({1}), "A", RejectionTitle.WORKLIST), image(1, "A"))
        counts = connection.execute(
            select(Instance.patient_key).where(Instance.counts, Instance.removed.is_(None))
        )
        assert counts.scalars().all() == [image(1, "B").patient_key]
        assert _conflict(connection, _frozen(connection, study_id)) is None


def test_a_rejection_and_a_correction_know_of_each_other(engine: Engine) -> None:
    with engine.begin() as connection:
        study_id = _come(connection, image(1, "A"), image(2, "A"))
        rejections.reject(connection, study_id, instance=f"{STUDY}.9.2", reason="")
        _correct(connection, study_id, "B")
        _come(connection, replace(image(2, "A"), digest="other bytes"))
        _come(connection, note(frozenset({1}), "A", RejectionTitle.QUALITY))
        assert not connection.execute(select(Instance.id).where(Instance.counts)).all()


def test_a_note_without_a_patient_rejects_nobody_s_images(engine: Engine) -> None:
    with engine.begin() as connection:
        _come(connection, image(1, "A"))
        anonymous = replace(
            note(frozenset({1}), "A", RejectionTitle.QUALITY), patient_key=patient_key("", "", "")
        )
        _come(connection, anonymous)
        assert connection.execute(select(Instance.removed).order_by(Instance.id)).scalars().first() is None


def test_a_picture_that_comes_again_with_an_id_it_had_not_is_analysed_under_it(engine: Engine) -> None:
    with engine.begin() as connection:
        unknown = replace(image(1, "A"), patient_id="", patient_key=patient_key("", "UNKNOWN^1", ""))
        named = replace(
            image(1, "A"), digest="later", patient_id="4711", patient_key=patient_key("4711", "DOE", "")
        )
        study_id = _come(connection, unknown)
        _frozen(connection, study_id)
        _come(connection, named)
        assert connection.execute(select(Study.patient_id)).scalar_one() == "4711"
        assert connection.execute(select(Instance.removed).order_by(Instance.id)).scalars().all() == [
            "replaced",
            None,
        ]


def test_a_study_whose_patient_is_rejected_is_not_named_after_them(engine: Engine) -> None:
    with engine.begin() as connection:
        study_id = _come(connection, image(1, "A"), image(2, "B"))
        rejections.reject(connection, study_id, instance=f"{STUDY}.9.1", reason="")
        assert connection.execute(select(Study.patient_id)).scalar_one() == ""
        assert _conflict(connection, _frozen(connection, study_id)) is None


def test_withdrawn_results_are_not_shown_as_those_of_the_study(engine: Engine) -> None:
    with engine.begin() as connection:
        study_id = _come(connection, image(1, "A"))
        analysed(connection, claimed(connection, _frozen(connection, study_id)), written(1, "pacs"))
        _correct(connection, study_id, "B")
        history = queries.history(connection, study_id)
        assert history.analysis is None
        assert history.objects == []
        assert "withdrawn" in unanalysed_entry(history.row, {})["reasons"][0]["text"]


def test_no_study_is_found_by_nothing(engine: Engine) -> None:
    with engine.begin() as connection:
        _come(connection, replace(image(1, "A"), accession_number=""))
        assert queries.find_studies(connection, "") == queries.find_studies(connection, " ") == []


@pytest.mark.parametrize("state", ["waiting", "given_up"])
def test_what_was_tried_without_an_answer_is_rejected_where_it_may_be(engine: Engine, state: str) -> None:
    with engine.begin() as connection:
        study_id = _come(connection, image(1, "A"))
        analysed(connection, claimed(connection, _frozen(connection, study_id)), written(1, "pacs"))
        connection.execute(text("update deliveries set attempts = 1, state = :state"), {"state": state})
        _correct(connection, study_id, "B")
        assert len(withdrawn(connection, study_id)) == 1


def test_a_retry_beside_a_correction_sends_nothing_that_is_withdrawn(engine: Engine) -> None:
    with engine.begin() as connection:
        study_id = _come(connection, image(1, "A"))
        analysed(connection, claimed(connection, _frozen(connection, study_id)), written(1, "pacs"))
        connection.execute(text("update deliveries set state = 'refused'"))

    def retry() -> int:
        with engine.begin() as connection:
            return deliveries.retry(connection)

    def is_held_up() -> bool:
        with engine.connect() as connection:
            waits = text("select count(*) from pg_stat_activity where wait_event_type = 'Lock'")
            return bool(connection.execute(waits).scalar())

    with ThreadPoolExecutor(1) as pool, engine.begin() as connection:
        _correct(connection, study_id, "B")
        retried = pool.submit(retry)
        until(is_held_up)
        connection.commit()
        assert retried.result(30) == 0
    with engine.connect() as connection:
        assert connection.execute(text("select state from deliveries")).scalar_one() == "refused"
