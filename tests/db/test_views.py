"""The views for people: one row a thing, right with nothing analysed, much analysed and much sent."""

from dataclasses import replace

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import ProgrammingError

from db import commitments, migrate, queries, refusals
from db.delivery import deliveries
from db.studies import analyses, leases
from db.studies.instances import record_instances
from db.studies.summaries import KeptSummary
from neurotriage.core.states import DeliveryState, RevisionState
from neurotriage.core.summary import Section
from neurotriage.core.values import Analysis, Outcome, Prediction, Reason, ReasonCode
from neurotriage.dicom.commitment_request import CommitmentRequest
from neurotriage.dicom.headers import InstanceHeader
from tests.db.rows import (
    NOW,
    RECEPTION,
    analysed,
    analysis,
    claimed,
    header,
    ready_revision,
    receive,
    rejection,
    sending_right,
    stored,
    written,
)
from tests.results.told import told


def test_the_view_counts_proofs_and_alarms(engine: Engine) -> None:
    with engine.begin() as connection:
        analysed(connection, claimed(connection, ready_revision(connection)), written(1, "pacs"))
        stored(connection, sending_right(connection))
        (row,) = queries.study_results(connection, limit=1)
        assert (row["deliveries_proven"], row["deliveries_alarmed"]) == (0, 0)
        connection.execute(text("update deliveries set committed_at = now(), alarmed_at = now()"))
        (row,) = queries.study_results(connection, limit=1)
        assert (row["deliveries_proven"], row["deliveries_alarmed"]) == (1, 1)
        assert row["committed_at"] is not None
        assert row["found_at"] is None


def test_a_reader_may_read_the_views_and_nothing_else(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("drop role if exists reader"))
        connection.execute(text("create role reader"))
    migrate.grant_reader(engine, "reader")
    with engine.begin() as connection:
        connection.execute(text("set local role reader"))
        for view in migrate.VIEWS:
            connection.execute(text(f"select * from {view}")).all()  # noqa: S608
        with pytest.raises(ProgrammingError, match="permission denied"):
            connection.execute(text("select * from studies"))


def test_the_view_has_one_row_per_study_with_its_outcome_and_deliveries(engine: Engine) -> None:
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection))
        analysed(connection, held, written(1, "pacs"), written(2, "pacs"))
        receive(connection, 1, study="1.2.4")
        rows = {row["study_instance_uid"]: row for row in queries.study_results(connection, limit=10)}
    assert rows["1.2.3"]["outcome"] == "present"
    assert rows["1.2.3"]["deliveries_waiting"] == 2
    assert rows["1.2.3"]["tumour_probability"] == pytest.approx(0.9)
    assert rows["1.2.4"]["outcome"] is None
    assert rows["1.2.4"]["state"] == "open"


def test_the_view_says_who_sent_a_study_what_made_it_and_who_gets_its_results(engine: Engine) -> None:
    with engine.begin() as connection:
        record_instances(connection, [(_scout(), RECEPTION)])
        held = claimed(connection, ready_revision(connection))
        analysed(connection, held, written(1, "pacs"), written(2, "archive"))
        (row,) = queries.study_results(connection, limit=10)
    expected = {
        "sender_ae_title": "SCANNER",
        "sender_host": "127.0.0.1",
        "modality": "MR",
        "manufacturer": "MAKER",
        "model_name": "Scanner 3T",
        "station_name": "MR1",
        "reason_codes": "tumour",
        "models": "mr 1",
        "destinations": "archive, pacs",
    }
    assert {name: row[name] for name in expected} == expected


def _scout() -> InstanceHeader:
    """Of a series that came first and decided nothing."""
    other = header(99)
    return replace(other, series_instance_uid="1.2.3.0", modality="CT", manufacturer="ANOTHER")


def test_a_study_that_nobody_analysed_yet_shows_what_came(engine: Engine) -> None:
    with engine.begin() as connection:
        receive(connection, 1)
        (row,) = queries.study_results(connection, limit=10)
    assert (row["modality"], row["manufacturer"], row["reason_codes"]) == ("MR", "MAKER", None)
    assert (row["models"], row["destinations"]) == (None, None)


def test_the_other_views_show_deliveries_the_queue_quarantine_and_refusals(engine: Engine) -> None:
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection))
        words = KeptSummary(told(), {"outcome": "present"})
        assert analyses.record_analysis(connection, held, analysis(), NOW, [written(1, "pacs")], text=words)
        reason = Reason(ReasonCode.NOT_DICOM, "no DICOM")
        refusals.quarantine(connection, "f.dcm", "quarantine/f.dcm", reason, RECEPTION, kind="instance")
        refusals.record_refused_context(connection, ("CT1", "10.0.0.1"), "1.2.840", ["1.2", "1.3"])
        for _ in range(2):
            refusals.record_refused_association(connection, "too many", ("CT1", "10.0.0.1"), "TRIAGE")
        ready_revision(connection, 7, study="1.2.4")
        commitments.record_request(
            connection,
            CommitmentRequest("2.25.1", (("1.2", "1.3"),)),
            peer_ae_title="CT1",
            called_ae_title="NEUROTRIAGE",
            peer_host="10.0.0.1",
            requested_at=NOW,
        )
        shown = {
            view: dict(connection.execute(text(f"select * from {view}")).mappings().one())  # noqa: S608
            for view in migrate.VIEWS
            if view != "study_results"
        }
    text_shown = shown["study_texts"]
    assert (text_shown["study_instance_uid"], text_shown["origin"]) == ("1.2.3", "template")
    assert text_shown["impression"] == told().text_of(Section.IMPRESSION)
    sent = shown["delivery_status"]
    assert (sent["study_instance_uid"], sent["destination"], sent["state"]) == ("1.2.3", "pacs", "waiting")
    aside = shown["quarantined_objects"]
    assert (aside["sender_ae_title"], aside["code"], aside["path"]) == (
        "SCANNER",
        "not_dicom",
        "quarantine/f.dcm",
    )
    assert (shown["analysis_queue"]["study_instance_uid"], shown["analysis_queue"]["state"]) == (
        "1.2.4",
        "ready",
    )
    asked = shown["storage_commitments"]
    assert (asked["transaction_uid"], asked["state"], asked["asked_count"]) == ("2.25.1", "waiting", 1)
    association = shown["refused_associations"]
    assert (association["cause"], association["times"]) == ("too many", 2)
    refused = shown["refused_presentation_contexts"]
    assert (refused["sender_host"], refused["transfer_syntaxes"], refused["times"]) == (
        "10.0.0.1",
        "1.2 1.3",
        1,
    )


def _row(connection: Connection, study: str = "1.2.3") -> dict[str, object]:
    """The row of ``study_results``."""
    query = text("select * from study_results where study_instance_uid = :uid")
    return dict(connection.execute(query, {"uid": study}).mappings().one())


def _recorded(connection: Connection, number: int, of: Analysis) -> None:
    held = claimed(connection, ready_revision(connection, number))
    assert analyses.record_analysis(connection, held, of, NOW, ())


def test_a_study_whose_attempts_are_used_up_shows_that_it_failed(engine: Engine) -> None:
    with engine.begin() as connection:
        leases.finish(connection, claimed(connection, ready_revision(connection)), RevisionState.FAILED)
        row = _row(connection)
    assert (row["outcome"], row["triage"], row["state"]) == ("failed", "none", "failed")
    assert (row["reason_codes"], row["reasons"]) == ("attempts_exhausted", None)
    assert (row["tumour_probability"], row["findings"], row["deliveries"]) == (None, 0, 0)


def test_the_newest_revision_is_shown_unless_it_ended_unchanged(engine: Engine) -> None:
    with engine.begin() as connection:
        _recorded(connection, 1, analysis())
        leases.finish(connection, claimed(connection, ready_revision(connection, 2)), RevisionState.UNCHANGED)
        assert (_row(connection)["revision"], _row(connection)["outcome"]) == (1, "present")
        ready_revision(connection, 3)
        assert (_row(connection)["revision"], _row(connection)["outcome"]) == (3, None)
        assert _row(connection)["state"] == "ready"


def test_codes_and_sentences_of_reasons_are_in_one_order(engine: Engine) -> None:
    reasons = (Reason(ReasonCode.NO_MODEL, "first"), Reason(ReasonCode.LOOK_ALIKE, "second"))
    with engine.begin() as connection:
        _recorded(connection, 1, replace(analysis(), reasons=reasons, degradations=("light model", "a hole")))
        row = _row(connection)
    assert (row["reasons"], row["reason_codes"]) == ("first; second", "no_model; look_alike")
    assert row["notes"] == "light model; a hole"


def test_the_highest_probability_of_a_tumour_is_shown_and_each_model_once(engine: Engine) -> None:
    (known,) = analysis().predictions
    predictions = (
        known,
        replace(known, probabilities={"tumour": 0.95}),
        replace(known, model="ct", probabilities={"normal": 0.99}),  # knows no tumour
    )
    with engine.begin() as connection:
        _recorded(connection, 1, replace(analysis(), predictions=predictions))
        row = _row(connection)
    assert row["tumour_probability"] == pytest.approx(0.95)
    assert row["models"] == "ct 1, mr 1"


def test_images_are_counted_once_each_and_results_of_ours_are_none(engine: Engine) -> None:
    ours = replace(header(7), sop_instance_uid="2.25.7", sop_class_uid="1.2.840.10008.5.1.4.1.1.7")
    with engine.begin() as connection:
        analysed(connection, claimed(connection, ready_revision(connection, 1, 2)), written(7))
        receive(connection, 1, study="1.2.4")
        for instance in (header(1), header(2, content="other"), ours):
            record_instances(connection, [(instance, RECEPTION)])
        assert (_row(connection)["instances"], _row(connection, "1.2.4")["instances"]) == (2, 1)


def _series(connection: Connection, *models: str) -> None:
    """Series 1.2.3.1, 1.2.3.2, ... of scanners with these model names, in the order of arrival."""
    for number, model in enumerate(models, start=1):
        instance = replace(header(number), series_instance_uid=f"1.2.3.{number}", model_name=model)
        record_instances(connection, [(instance, RECEPTION)])


def _prediction(series_instance_uid: str | None, probability: float) -> Prediction:
    (known,) = analysis().predictions
    return replace(known, series_instance_uid=series_instance_uid, probabilities={"tumour": probability})


@pytest.mark.parametrize(
    ("finding_on", "probabilities", "taken", "decided"),
    [
        ("1.2.3.3", {"1.2.3.2": 0.9}, "1.2.3.1", "C"),  # that of the findings
        (None, {"1.2.3.1": 0.2, "1.2.3.2": 0.4}, "1.2.3.3", "B"),  # the highest probability
        (None, {"1.2.3.2": 0.4, "1.2.3.3": 0.4}, None, "B"),  # of equal ones the first
        (None, {}, "1.2.3.3", "C"),  # one that was taken
        (None, {}, None, "A"),  # the first
    ],
)
def test_the_scanner_is_that_of_the_series_that_decided(
    engine: Engine, finding_on: str | None, probabilities: dict[str, float], taken: str | None, decided: str
) -> None:
    known = analysis()
    findings = (replace(known.findings[0], series_instance_uid=finding_on),) if finding_on else ()
    verdicts = (replace(known.verdicts[0], series_instance_uid=taken),) if taken else ()
    predictions = tuple(_prediction(uid, probability) for uid, probability in probabilities.items())
    with engine.begin() as connection:
        _series(connection, "A", "B", "C")
        made = replace(known, findings=findings, verdicts=verdicts, predictions=predictions)
        _recorded(connection, 1, made)
        assert _row(connection)["model_name"] == decided


def test_a_series_that_is_neither_ct_nor_mr_does_not_stand_for_the_study(engine: Engine) -> None:
    with engine.begin() as connection:
        report = replace(header(1), series_instance_uid="1.2.3.0", modality="SR", model_name="Reporting")
        record_instances(connection, [(report, RECEPTION)])
        receive(connection, 2)
        assert (_row(connection)["modality"], _row(connection)["model_name"]) == ("MR", "Scanner 3T")


def test_deliveries_are_counted_by_where_they_have_got_to(engine: Engine) -> None:
    states = [*DeliveryState, DeliveryState.STORED]
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection))
        analysed(connection, held, *(written(number, "pacs") for number in range(len(states))))
        other = claimed(connection, ready_revision(connection, 1, study="1.2.4"))
        analysed(connection, other, written(99, "pacs"))
        for item, state in zip(deliveries.due(connection, "pacs"), states, strict=False):
            values = {"state": state, "id": item.id}
            connection.execute(text("update deliveries set state = :state where id = :id"), values)
        row = _row(connection)
    counts = ("deliveries", "deliveries_stored", "deliveries_waiting", "deliveries_refused")
    assert [row[name] for name in counts] == [7, 2, 3, 2]


def test_deliveries_of_a_replaced_revision_are_not_counted_but_stay_in_their_view(engine: Engine) -> None:
    with engine.begin() as connection:
        analysed(connection, claimed(connection, ready_revision(connection, 1)), written(1, "pacs"))
        analysed(
            connection,
            claimed(connection, ready_revision(connection, 2)),
            written(2, "pacs"),
            rejection(3, "pacs"),
        )
        assert _row(connection)["deliveries"] == 2
        question = "select revision, superseded, kind, state, last_status from delivery_status order by 1, 3"
        assert connection.execute(text(question)).all() == [
            (1, True, "page", "given_up", "cancelled: a newer revision was analysed"),
            (2, False, "page", "waiting", ""),
            (2, False, "rejection", "waiting", ""),
        ]


def test_an_absent_tumour_is_an_outcome_and_no_probability_is_made_up(engine: Engine) -> None:
    with engine.begin() as connection:
        _recorded(connection, 1, replace(analysis(Outcome.ABSENT), predictions=()))
        row = _row(connection)
    assert (row["outcome"], row["tumour_probability"], row["models"]) == ("absent", None, None)
