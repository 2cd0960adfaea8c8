"""What a model produced is known, and is analysed anew once per recall."""

from dataclasses import replace

from sqlalchemy import Connection, Engine, text

from db.corrections import identity
from db.studies import analyses, assembly, leases, recall
from db.studies.leases import Lease
from db.studies.objects import WrittenObject
from neurotriage.core.patient import PatientIdentity
from neurotriage.core.states import RevisionState
from tests.db.rows import NOW, analysed, analysis, claimed, ready_revision, receive, rejection, written

MODEL = ("mr", "1")  # of ``rows.analysis``


def _analysed(connection: Connection, number: int, *objects: WrittenObject, study: str = "1.2.3") -> Lease:
    held = claimed(connection, ready_revision(connection, number, study=study))
    analysed(connection, held, *objects)
    return held


def _stored(connection: Connection) -> None:
    connection.execute(text("update deliveries set state = 'stored' where state = 'waiting'"))


def test_what_a_model_had_a_say_in_is_listed(engine: Engine) -> None:
    with engine.begin() as connection:
        _analysed(connection, 1, written(1, "pacs"), written(2, "pacs", "archive"))
        _stored(connection)
        _analysed(connection, 2, written(3))
        first, second = recall.produced(connection, *MODEL)
        assert (first.objects, first.stored, first.superseded) == (2, 3, True)
        assert (second.revision, second.superseded, second.outcome) == (2, False, "present")
        assert recall.produced(connection, "mr", "2") == []


def test_a_study_is_analysed_again_with_the_instances_that_it_had(engine: Engine) -> None:
    with engine.begin() as connection:
        held = _analysed(connection, 1)
        revision_id = recall.analyse_again(connection, held.study_id, *MODEL)
        assert revision_id is not None
        rows = connection.execute(
            text("select number, state, completed_by, digest from revisions order by 1")
        )
        (first, second) = rows.all()
        assert (second.number, second.state, second.completed_by) == (2, "ready", "recall")
        assert second.digest == first.digest
        counts = connection.execute(
            text("select count(*) from revision_instances group by revision_id")
        ).scalars()
        assert list(counts) == [1, 1]


def test_a_study_that_is_about_to_be_analysed_is_left_alone(engine: Engine) -> None:
    with engine.begin() as connection:
        held = _analysed(connection, 1)
        assert recall.analyse_again(connection, held.study_id, *MODEL) is not None
        assert recall.analyse_again(connection, held.study_id, *MODEL) is None


def test_a_study_to_which_images_still_arrive_is_left_alone(engine: Engine) -> None:
    with engine.begin() as connection:
        held = _analysed(connection, 1)
        receive(connection, 2)
        assert recall.analyse_again(connection, held.study_id, *MODEL) is None


def _again(connection: Connection, study_id: int) -> Lease:
    revision_id = recall.analyse_again(connection, study_id, *MODEL)
    assert revision_id is not None
    return claimed(connection, revision_id)


def _taken(connection: Connection, held: Lease) -> list[tuple[str, str]]:
    """SOP Instance UIDs and destinations that a recall takes back."""
    return [
        (item.reference.sop_instance_uid, item.destination) for item in recall.retracted(connection, held)
    ]


def test_what_was_sent_is_taken_back_once(engine: Engine) -> None:
    with engine.begin() as connection:
        first = _analysed(connection, 1, written(1, "pacs"), written(2, "pacs", "archive"), written(3))
        _stored(connection)
        again = _again(connection, first.study_id)
        assert _taken(connection, again) == [("2.25.1", "pacs"), ("2.25.2", "pacs"), ("2.25.2", "archive")]
        analysed(connection, again, written(4, "pacs"), rejection(9, "pacs"))
        _stored(connection)
        later = _again(connection, first.study_id)
        assert _taken(connection, later) == [("2.25.4", "pacs")]


def test_a_note_is_sent_even_when_a_newer_revision_comes_first(engine: Engine) -> None:
    with engine.begin() as connection:
        first = _analysed(connection, 1, written(1, "pacs"))
        again = _again(connection, first.study_id)
        analysed(connection, again, written(4, "pacs"), rejection(9, "pacs"))
        _analysed(connection, 2, written(5, "pacs"))
        waits = connection.execute(
            text(
                "select sop_instance_uid from deliveries d join result_objects o on o.id = result_object_id "
                "where d.state = 'waiting' order by d.id"
            )
        ).scalars()
        assert list(waits) == ["2.25.9", "2.25.5"]


def test_only_what_may_lie_somewhere_is_taken_back(engine: Engine) -> None:
    states = ("stored", "sending", "waiting", "refused", "given_up")
    with engine.begin() as connection:
        first = _analysed(connection, 1, *(written(number, "pacs") for number in range(5)))
        for number, state in enumerate(states):
            connection.execute(
                text(
                    "update deliveries set state = :state from result_objects o "
                    "where o.id = result_object_id and o.sop_instance_uid = :uid"
                ),
                {"state": state, "uid": f"2.25.{number}"},
            )
        again = _again(connection, first.study_id)
        assert _taken(connection, again) == [("2.25.0", "pacs"), ("2.25.1", "pacs")]


def test_results_of_another_study_are_not_taken_back(engine: Engine) -> None:
    with engine.begin() as connection:
        first = _analysed(connection, 1, written(1, "pacs"))
        _analysed(connection, 1, written(2, "pacs"), study="1.2.4")
        _stored(connection)
        assert _taken(connection, _again(connection, first.study_id)) == [("2.25.1", "pacs")]


def test_what_several_revisions_sent_is_taken_back_together(engine: Engine) -> None:
    with engine.begin() as connection:
        for number in (1, 2):
            held = _analysed(connection, number, written(number, "pacs"))
            _stored(connection)
        taken = _taken(connection, _again(connection, held.study_id))
        assert taken == [("2.25.1", "pacs"), ("2.25.2", "pacs")]


def test_a_recall_whose_revision_failed_to_be_analysed_leaves_its_results_to_the_next(engine: Engine) -> None:
    with engine.begin() as connection:
        first = _analysed(connection, 1, written(1, "pacs"))
        _stored(connection)
        abandoned = _again(connection, first.study_id)
        assert leases.finish(connection, abandoned, RevisionState.FAILED)
        assert _taken(connection, _again(connection, first.study_id)) == [("2.25.1", "pacs")]


def test_a_recall_names_the_model_in_the_history(engine: Engine) -> None:
    with engine.begin() as connection:
        first = _analysed(connection, 1)
        again = _again(connection, first.study_id)
        event = connection.execute(
            text("select revision_id, detail from events where kind = 'recalled'")
        ).one()
        assert event.revision_id == again.revision_id
        assert event.detail == {"model": "mr", "version": "1"}


def test_an_analysis_with_several_predictions_of_a_model_is_listed_once(engine: Engine) -> None:
    (prediction,) = analysis().predictions
    several = replace(
        analysis(), predictions=(prediction, replace(prediction, series_instance_uid="1.2.3.1"))
    )
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection, 1))
        assert analyses.record_analysis(connection, held, several, NOW, ())
        (only,) = recall.produced(connection, *MODEL)
        assert (only.study_id, only.objects, only.stored) == (held.study_id, 0, 0)
        assert recall.produced(connection, "ct", "1") == []


def test_the_studies_of_a_model_are_listed_in_the_order_of_analysis(engine: Engine) -> None:
    with engine.begin() as connection:
        later = claimed(connection, ready_revision(connection, 1, study="1.2.3"))
        _analysed(connection, 1, study="1.2.4")
        analysed(connection, later)
        uids = [item.study_instance_uid for item in recall.produced(connection, *MODEL)]
        assert uids == ["1.2.4", "1.2.3"]


def test_a_recall_leaves_what_was_withdrawn_to_the_notes_of_the_withdrawal(engine: Engine) -> None:
    """Those name the patient under whom the results were sent."""
    with engine.begin() as connection:
        held = _analysed(connection, 1, written(1, "pacs"))
        _stored(connection)
        to = PatientIdentity("B")
        identity.correct(connection, held.study_id, to, made_by="test", reason="")
        whole = assembly.freeze(connection, held.study_id, idle_s=0, completed_by="quiet")
        assert whole is not None
        analysed(connection, claimed(connection, whole), written(2, "pacs"))
        _stored(connection)
        assert _taken(connection, _again(connection, held.study_id)) == [("2.25.2", "pacs")]
