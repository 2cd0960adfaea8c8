"""Corrections and rejections as rows: what falls under them, before and after they came."""

import json
from dataclasses import replace

from sqlalchemy import Connection, Engine, select, text

from db.corrections import identity, rejections
from db.corrections.withdrawal import withdrawn
from db.delivery.release import release
from db.studies import assembly, leases
from db.studies.analyses import record_analysis
from db.studies.instances import record_instances
from db.tables import Instance, Revision, Study
from neurotriage.core.patient import PatientIdentity
from neurotriage.core.rejection import RejectionTitle
from neurotriage.core.states import DeliveryState
from neurotriage.dicom.headers import InstanceHeader
from tests.db.corrections.test_orders import image, note
from tests.db.rows import (
    NOW,
    RECEPTION,
    STUDY,
    analysed,
    analysis,
    claimed,
    event_kinds,
    sending_right,
    stored,
    written,
)


def _come(connection: Connection, *headers: InstanceHeader) -> int:
    for one in headers:
        record_instances(connection, [(one, RECEPTION)])
    return connection.execute(select(Study.id).where(Study.study_instance_uid == STUDY)).scalar_one()


def _frozen(connection: Connection, study_id: int) -> int:
    revision_id = assembly.freeze(connection, study_id, idle_s=0, completed_by="quiet")
    assert revision_id is not None
    return revision_id


def _conflict(connection: Connection, revision_id: int) -> str | None:
    return connection.execute(select(Revision.conflict).where(Revision.id == revision_id)).scalar_one()


def _correct(connection: Connection, study_id: int, patient: str, of: str | None = None) -> int | None:
    to = PatientIdentity(patient)
    return identity.correct(connection, study_id, to, made_by="test", reason="", of_patient_id=of)


def test_an_image_of_the_old_patient_that_comes_after_a_correction_falls_under_it(engine: Engine) -> None:
    with engine.begin() as connection:
        study_id = _come(connection, image(1, "A"))
        correction = _correct(connection, study_id, "B")
        _come(connection, image(2, "A"), image(3, "B"))
        by = connection.execute(select(Instance.corrected_by).order_by(Instance.id)).scalars()
        assert list(by) == [correction, correction, None]
        assert _conflict(connection, _frozen(connection, study_id)) is None


def test_a_merge_concerns_the_images_of_that_patient_alone_and_ends_a_conflict(engine: Engine) -> None:
    with engine.begin() as connection:
        study_id = _come(connection, image(1, "A"), image(2, "B"))
        assert _conflict(connection, _frozen(connection, study_id)) is not None
        assert _correct(connection, study_id, "B", of="C") is None
        assert _correct(connection, study_id, "B", of="A") is not None
        assert _conflict(connection, _frozen(connection, study_id)) is None
        states = connection.execute(select(Revision.state).order_by(Revision.number)).scalars()
        assert list(states) == ["withdrawn", "ready"]


def test_what_is_rejected_before_it_comes_does_not_count_but_the_same_for_another_patient_does(
    engine: Engine,
) -> None:
    with engine.begin() as connection:
        title = RejectionTitle.PATIENT_SAFETY
        _come(connection, note(frozenset({1, 2}), "A", title), image(1, "A"), image(2, "B"), image(3, "A"))
        rows = connection.execute(select(Instance.counts, Instance.removed).order_by(Instance.id))
        assert [tuple(row) for row in rows] == [
            *((False, "note"), (False, "rejected"), (True, None), (True, None)),
        ]


def test_a_note_may_name_another_study_than_its_own(engine: Engine) -> None:
    with engine.begin() as connection:
        study_id = _come(connection, image(1, "A"))
        _frozen(connection, study_id)
        elsewhere = replace(note(frozenset({1}), "A", RejectionTitle.WORKLIST), study_instance_uid="1.2.99")
        record_instances(connection, [(elsewhere, RECEPTION)])
        states = select(Study.study_instance_uid, Study.state).order_by(Study.id)
        assert [tuple(row) for row in connection.execute(states)] == [(STUDY, "open"), ("1.2.99", "quiet")]


def test_a_rejected_image_that_results_do_not_show_withdraws_none(engine: Engine) -> None:
    with engine.begin() as connection:
        study_id = _come(connection, image(1, "A"), image(2, "A"))
        held = claimed(connection, _frozen(connection, study_id))
        analysed(connection, held, written(1, "pacs"))
        shown = json.dumps([{"slices": [{"sop_instance_uid": f"{STUDY}.9.1"}]}])
        connection.execute(
            text("update analyses set document = jsonb_set(document, '{series}', cast(:shown as jsonb))"),
            {"shown": shown},
        )
        assert rejections.reject(connection, study_id, instance=f"{STUDY}.9.2", reason="") == 1
        assert connection.execute(select(Revision.state)).scalar_one() == "analysed"
        assert rejections.reject(connection, study_id, instance=f"{STUDY}.9.1", reason="") == 1
        assert connection.execute(select(Revision.state)).scalar_one() == "withdrawn"


def test_the_same_picture_of_another_patient_and_of_the_first_again_stands_each_time(engine: Engine) -> None:
    with engine.begin() as connection:
        study_id = _come(connection, image(1, "A"))
        for patient in ("B", "A"):
            _frozen(connection, study_id)
            _come(connection, image(1, patient))
            counts = connection.execute(select(Instance.patient_key).where(Instance.counts)).scalar_one()
            assert counts == image(1, patient).patient_key
        assert event_kinds(connection).count("withdrawn") == 2


def test_another_picture_of_another_patient_under_one_uid_is_a_conflict(engine: Engine) -> None:
    with engine.begin() as connection:
        other = replace(image(1, "B"), instance_number=7)
        study_id = _come(connection, image(1, "A"), other)
        assert _conflict(connection, _frozen(connection, study_id)) is not None


def test_a_worker_that_was_at_a_corrected_study_writes_nothing(engine: Engine) -> None:
    with engine.begin() as connection:
        study_id = _come(connection, image(1, "A"))
        held = claimed(connection, _frozen(connection, study_id))
        _correct(connection, study_id, "B")
        assert leases.is_lost(connection, held)
        assert not leases.renew(connection, held, lease_s=60)
        assert not record_analysis(connection, held, analysis(), NOW, [written(1, "pacs")])


def test_an_object_that_was_being_sent_is_withdrawn_there_too_and_once(engine: Engine) -> None:
    with engine.begin() as connection:
        study_id = _come(connection, image(1, "A"))
        analysed(
            connection,
            claimed(connection, _frozen(connection, study_id)),
            *(
                written(1, "pacs"),
                written(2, "pacs"),
                written(3, "other"),
            ),
        )
        connection.execute(
            text("update deliveries set state = 'sending' where id = 1"),
        )
        _correct(connection, study_id, "B")
        states = connection.execute(text("select distinct state from deliveries")).scalars()
        assert list(states) == [DeliveryState.GIVEN_UP]
        assert stored(connection, sending_right(connection)) == []
        assert [one.reference.sop_instance_uid for one in withdrawn(connection, study_id)] == ["2.25.1"]
        analysed(connection, claimed(connection, _frozen(connection, study_id)), written(4, "pacs"))
        assert withdrawn(connection, study_id) == []


def test_what_is_held_of_a_corrected_study_is_never_sent(engine: Engine) -> None:
    with engine.begin() as connection:
        study_id = _come(connection, image(1, "A"))
        held = replace(written(1, "pacs"), held=frozenset({"pacs"}))
        analysed(connection, claimed(connection, _frozen(connection, study_id)), held)
        _correct(connection, study_id, "B")
        assert release(connection, study_ids=None, destination=None, made_by="test") == 0
        assert connection.execute(text("select state from deliveries")).scalar_one() == "given_up"
