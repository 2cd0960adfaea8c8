"""What a model produced is known, and is analysed anew once per recall."""

from dataclasses import replace

from sqlalchemy import Connection, Engine, text

from db.studies import recall
from db.studies.analyses import WrittenObject
from db.studies.leases import Lease
from neurotriage.core.values import NoteKind
from tests.db.rows import analysed, claimed, ready_revision, receive, written

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


def test_what_was_sent_is_taken_back_once(engine: Engine) -> None:
    with engine.begin() as connection:
        first = _analysed(connection, 1, written(1, "pacs"), written(2, "pacs", "archive"), written(3))
        _stored(connection)
        again = _again(connection, first.study_id)
        taken = [
            (item.reference.sop_instance_uid, item.destination)
            for item in recall.retracted(connection, again)
        ]
        assert taken == [("2.25.1", "pacs"), ("2.25.2", "pacs"), ("2.25.2", "archive")]
        note = written(9, "pacs")
        note = replace(note, result=replace(note.result, kind=NoteKind.REJECTION))
        analysed(connection, again, written(4, "pacs"), note)
        _stored(connection)
        later = _again(connection, first.study_id)
        taken = [
            (item.reference.sop_instance_uid, item.destination)
            for item in recall.retracted(connection, later)
        ]
        assert taken == [("2.25.4", "pacs")]


def test_a_note_is_sent_even_when_a_newer_revision_comes_first(engine: Engine) -> None:
    with engine.begin() as connection:
        first = _analysed(connection, 1, written(1, "pacs"))
        again = _again(connection, first.study_id)
        note = written(9, "pacs")
        note = replace(note, result=replace(note.result, kind=NoteKind.REJECTION))
        analysed(connection, again, written(4, "pacs"), note)
        _analysed(connection, 2, written(5, "pacs"))
        waits = connection.execute(
            text(
                "select sop_instance_uid from deliveries d join result_objects o on o.id = result_object_id "
                "where d.state = 'waiting' order by d.id"
            )
        ).scalars()
        assert list(waits) == ["2.25.9", "2.25.5"]
