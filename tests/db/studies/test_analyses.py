"""The rows of an analysis: written by the holder of the lease alone, and read from the newest revision."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from sqlalchemy import Connection, Engine, func, select, text
from sqlalchemy.exc import NoResultFound

from db.delivery import deliveries
from db.studies import analyses, leases, objects
from db.studies.instances import record_instances
from db.studies.leases import Lease
from db.studies.objects import WrittenObject
from db.tables import (
    AnalysisRow,
    Delivery,
    Event,
    FindingRow,
    Installation,
    ModelVersion,
    PredictionRow,
    ResultObjectRow,
    Revision,
    SeriesVerdictRow,
)
from neurotriage.core.documents import from_document
from neurotriage.core.rejection import RejectionNote, RejectionTitle
from neurotriage.core.states import RevisionState
from neurotriage.core.values import Claims, Outcome, ResultKind
from tests.db.rows import (
    NOW,
    RECEPTION,
    analysed,
    analysis,
    claimed,
    event_kinds,
    expire_leases,
    header,
    ready_revision,
    rejection,
    sending_right,
    written,
)


def _analysed(connection: Connection, number: int, *objects: WrittenObject, study: str = "1.2.3") -> Lease:
    held = claimed(connection, ready_revision(connection, number, study=study))
    analysed(connection, held, *objects)
    return held


def _report(number: int) -> WrittenObject:
    page = written(number)
    return replace(page, result=replace(page.result, kind=ResultKind.REPORT))


def _count(connection: Connection, table: type) -> int:
    return connection.execute(select(func.count()).select_from(table)).scalar_one()


def test_a_worker_that_lost_its_lease_leaves_no_row_behind(engine: Engine) -> None:
    with engine.begin() as connection:
        before = claimed(connection, ready_revision(connection))
        expire_leases(connection)
        claimed(connection, before.revision_id, owner="w2")
        assert not analyses.record_analysis(connection, before, analysis(), NOW, [written(1, "pacs")])
        for table in (AnalysisRow, SeriesVerdictRow, FindingRow, PredictionRow, ResultObjectRow, Delivery):
            assert _count(connection, table) == 0
        assert event_kinds(connection)[-1] == "analysing"


def test_the_document_of_an_analysis_is_the_analysis(engine: Engine) -> None:
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection))
        assert analyses.record_analysis(connection, held, analysis(), NOW, (), Claims.RESEARCH)
        row = connection.execute(select(AnalysisRow.__table__)).one()
        assert from_document(row.document) == analysis()
        assert (row.study_id, row.revision_id) == (held.study_id, held.revision_id)
        assert (row.outcome, row.triage, row.claims) == ("present", "urgent", "research")
        assert row.reasons == [{"code": "tumour", "text": "because"}]


def test_an_analysis_that_found_nothing_has_no_findings(engine: Engine) -> None:
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection))
        assert analyses.record_analysis(connection, held, analysis(Outcome.ABSENT), NOW, ())
        assert _count(connection, FindingRow) == 0
        assert _count(connection, PredictionRow) == 1


def test_a_failed_analysis_ends_its_revision_failed(engine: Engine) -> None:
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection))
        assert analyses.record_analysis(connection, held, analysis(Outcome.FAILED), NOW, [written(1, "pacs")])
        assert connection.execute(select(Revision.state)).scalar_one() == RevisionState.FAILED
        assert len(deliveries.due(connection, "pacs")) == 1  # its page says so
        assert event_kinds(connection)[-1] == "failed"


def test_a_model_is_one_row_until_its_weights_or_version_change(engine: Engine) -> None:
    first = analysis()
    (prediction,) = first.predictions
    versions = [{}, {}, {"version": "2"}, {"sha256": "cd" * 32}]
    with engine.begin() as connection:
        for number, changes in enumerate(versions, start=1):
            held = claimed(connection, ready_revision(connection, number))
            changed = replace(first, predictions=(replace(prediction, **changes),))
            assert analyses.record_analysis(connection, held, changed, NOW, ())
        rows = connection.execute(select(ModelVersion.version, ModelVersion.sha256).order_by(ModelVersion.id))
        assert rows.all() == [("1", "ab" * 32), ("2", "ab" * 32), ("1", "cd" * 32)]
        used = connection.execute(select(PredictionRow.model_version_id).order_by(PredictionRow.id)).scalars()
        assert len(set(used.all()[:2])) == 1


def test_a_new_analysis_replaces_the_older_ones_of_its_study_alone(engine: Engine) -> None:
    with engine.begin() as connection:
        _analysed(connection, 1, written(1, "pacs"), rejection(2, "pacs"))
        _analysed(connection, 1, written(3, "pacs"), study="1.2.4")
        _analysed(connection, 2, written(4, "pacs"))
        superseded = connection.execute(select(Revision.superseded).order_by(Revision.id)).scalars()
        assert superseded.all() == [True, False, False]
        due = [item.sop_instance_uid for item in deliveries.due(connection, "pacs")]
        assert due == ["2.25.2", "2.25.3", "2.25.4"]
        detail = connection.execute(select(Event.detail).where(Event.kind == "deliveries_cancelled"))
        assert detail.scalars().all() == [{"deliveries": 1}]


@pytest.mark.parametrize("state", ["stored", "refused", "given_up"])
def test_what_has_ended_is_not_cancelled(engine: Engine, state: str) -> None:
    with engine.begin() as connection:
        _analysed(connection, 1, written(1, "pacs"))
        connection.execute(text("update deliveries set state = :state"), {"state": state})
        _analysed(connection, 2)
        row = connection.execute(select(Delivery.state, Delivery.last_status)).one()
        assert tuple(row) == (state, "")
        assert "deliveries_cancelled" not in event_kinds(connection)


def test_what_is_being_sent_is_cancelled_too(engine: Engine) -> None:
    with engine.begin() as connection:
        _analysed(connection, 1, written(1, "pacs"))
        right = sending_right(connection)
        (due,) = deliveries.due(connection, "pacs")
        assert deliveries.begin(connection, right, due.id)
        _analysed(connection, 2)
        assert connection.execute(select(Delivery.state)).scalar_one() == "given_up"


def test_of_an_older_revision_that_ends_late_only_the_rejection_note_is_sent(engine: Engine) -> None:
    with engine.begin() as connection:
        older = claimed(connection, ready_revision(connection, 1))
        _analysed(connection, 2, written(1, "pacs"))
        analysed(connection, older, written(2, "pacs"), rejection(3, "pacs"))
        due = [item.sop_instance_uid for item in deliveries.due(connection, "pacs")]
        assert due == ["2.25.1", "2.25.3"]
        superseded = connection.execute(select(Revision.superseded).order_by(Revision.number)).scalars()
        assert superseded.all() == [True, False]
        assert _count(connection, ResultObjectRow) == 3


def test_an_object_goes_to_each_of_its_destinations_or_to_none(engine: Engine) -> None:
    with engine.begin() as connection:
        _analysed(connection, 1, written(1, "pacs", "archive"), written(2))
        rows = connection.execute(select(Delivery.destination).order_by(Delivery.id)).scalars().all()
        assert rows == ["pacs", "archive"]
        sizes = connection.execute(select(ResultObjectRow.size_bytes, ResultObjectRow.path)).all()
        assert sizes == [(5, "results/1.dcm"), (5, "results/2.dcm")]


def test_of_a_study_that_was_never_analysed_nothing_is_known(engine: Engine) -> None:
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection, 1))
        _analysed(connection, 1, _report(9), study="1.2.4")
        assert analyses.last_analysis(connection, held.study_id) is None
        assert objects.last_documents(connection, held.study_id) == ()


def _end(connection: Connection, study_id: int, number: int, state: RevisionState) -> None:
    held = claimed(connection, ready_revision(connection, number))
    assert held.study_id == study_id
    assert leases.finish(connection, held, state)


@pytest.mark.parametrize(
    ("later", "known"),
    [
        ((), True),
        ((RevisionState.UNCHANGED,), True),
        ((RevisionState.FAILED,), False),
        ((RevisionState.FAILED, RevisionState.UNCHANGED), False),
    ],
)
def test_the_last_analysis_is_that_of_the_newest_revision_that_ended(
    engine: Engine, later: Sequence[RevisionState], known: bool
) -> None:
    with engine.begin() as connection:
        held = _analysed(connection, 1)
        for number, state in enumerate(later, start=2):
            _end(connection, held.study_id, number, state)
        claimed(connection, ready_revision(connection, 9))  # under way
        last = analyses.last_analysis(connection, held.study_id)
        assert (last is not None) == known
        if last is not None:
            assert (last.input_digest, last.software_version, last.claims) == ("d1", "0", "research")
            assert last.model_sha256s == {"ab" * 32}


def test_an_analysis_without_a_model_names_none(engine: Engine) -> None:
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection))
        assert analyses.record_analysis(connection, held, replace(analysis(), predictions=()), NOW, ())
        last = analyses.last_analysis(connection, held.study_id)
        assert last is not None
        assert last.model_sha256s == frozenset()


def test_the_last_report_is_the_newest_of_the_study(engine: Engine) -> None:
    with engine.begin() as connection:
        held = _analysed(connection, 1, _report(1), written(2))
        _analysed(connection, 2, _report(3))
        _analysed(connection, 3, written(4))  # without a report
        _analysed(connection, 1, _report(5), study="1.2.4")
        (reference,) = objects.last_documents(connection, held.study_id)
        assert reference.sop_instance_uid == "2.25.3"


def test_the_sender_of_a_study_is_who_sent_its_first_image(engine: Engine) -> None:
    result = replace(header(7), sop_instance_uid="2.25.7", sop_class_uid="1.2.840.10008.5.1.4.1.1.7")
    with engine.begin() as connection:
        _analysed(connection, 1, written(7), study="1.2.4")
        archive = replace(RECEPTION, peer_ae_title="ARCHIVE", peer_host="10.0.0.9")
        record_instances(connection, [(result, archive)])
        for number, title in enumerate(("CT2", "CT1"), start=1):
            record_instances(connection, [(header(number), replace(RECEPTION, peer_ae_title=title))])
        study_id = connection.execute(
            text("select id from studies where study_instance_uid = '1.2.3'")
        ).scalar_one()
        assert analyses.sender(connection, study_id) == ("CT2", "127.0.0.1")
        with pytest.raises(NoResultFound):
            analyses.sender(connection, study_id + 100)


def test_whoever_rejects_images_beforehand_is_not_the_sender_of_the_study(engine: Engine) -> None:
    rejected = RejectionNote(RejectionTitle("113037"), (("1.2.3", "1.2.3.1.9"),))
    note = replace(header(7), sop_instance_uid="2.25.7", rejection=rejected)
    with engine.begin() as connection:
        record_instances(connection, [(note, replace(RECEPTION, peer_ae_title="ARCHIVE"))])
        (study_id,) = connection.execute(text("select id from studies")).scalars()
        assert analyses.sender(connection, study_id)[0] == "ARCHIVE"
        record_instances(connection, [(header(1), replace(RECEPTION, peer_ae_title="CT2"))])
        assert analyses.sender(connection, study_id)[0] == "CT2"


def test_the_installation_keeps_its_uid(engine: Engine) -> None:
    with engine.begin() as connection:
        uid = analyses.installation_uid(connection)
        assert uid.startswith("2.25.")
        assert len(uid) <= 64
        assert connection.execute(select(Installation.uid)).scalars().all() == [uid]
