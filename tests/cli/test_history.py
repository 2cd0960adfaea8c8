"""``results`` and ``why`` tell what the tables hold."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url, text
from typer.testing import CliRunner, Result

from db.delivery import deliveries, destinations
from db.studies import analyses, leases
from neurotriage.cli import app
from neurotriage.core.result_json import unanalysed_entry
from neurotriage.core.settings import CONFIG_VARIABLE
from neurotriage.core.states import DeliveryState, RevisionState, StudyState
from tests.db.rows import NOW, STUDY, analysed, analysis, claimed, ready_revision, receive, written

OTHER = "1.2.4"


@pytest.fixture(autouse=True)
def _configured(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, "/dev/null")
    monkeypatch.setenv("NEUROTRIAGE__DATABASE__URL", database_url)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def told(engine: Engine) -> None:
    """One study with a tumour, of whose two objects one is stored; one that just came."""
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection))
        leases.give_back(connection, held, "Traceback\nValueError: first try")
        again = claimed(connection, held.revision_id)
        analysed(connection, again, written(1, "pacs"), written(2, "pacs"))
        right = destinations.take(connection, "pacs", owner="w1", lease_s=60)
        assert right is not None
        first, second = deliveries.due(connection, "pacs")
        for delivery, state, text in (
            (first, DeliveryState.STORED, "stored"),
            (second, DeliveryState.REFUSED, "refused: not authorised (0x0124)"),
        ):
            deliveries.begin(connection, right, delivery.id)
            deliveries.settle(connection, right, delivery, state, text)
    with engine.begin() as connection:
        receive(connection, 1, study=OTHER)


def _say(*words: str, exit_code: int = 0) -> Result:
    answer = CliRunner().invoke(app, words)
    assert answer.exit_code == exit_code, answer.output
    return answer


@pytest.mark.usefixtures("told")
def test_results_as_a_table_have_a_line_per_study() -> None:
    lines = _say("results").stdout.splitlines()
    (line,) = [line for line in lines if STUDY in line]
    for word in ("A1", "present", "urgent", "90 %", "1/2", "because"):
        assert word in line
    assert any(OTHER in line and "open" in line for line in lines)


@pytest.mark.usefixtures("told")
def test_results_as_json_are_those_of_result_json() -> None:
    entries = {
        entry["study_instance_uid"]: entry for entry in json.loads(_say("results", "--format", "json").stdout)
    }
    present = entries[STUDY]
    assert (present["outcome"], present["triage"], present["revision"]) == ("present", "urgent", 1)
    assert [(o["state"], o["destination"]) for o in present["results"]] == [
        ("stored", "pacs"),
        ("refused", "pacs"),
    ]
    assert {"received_to_ready", "ready_to_analysed", "analysed_to_stored"} <= set(present["timings_s"])
    waiting = entries[OTHER]
    assert (waiting["outcome"], waiting["state"]) == (None, "open")
    assert waiting["reasons"] == [{"code": "not_analysed_yet", "text": "images still arrive"}]


def test_a_study_that_was_given_up_without_an_analysis_says_so(engine: Engine) -> None:
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection))
        leases.give_back(connection, held, "Traceback")
        assert leases.fail_abandoned(connection, attempts=1) == 1
    (entry,) = json.loads(_say("results", "--format", "json").stdout)
    assert (entry["outcome"], entry["triage"]) == ("failed", "none")
    assert entry["reasons"] == [{"code": "attempts_exhausted", "text": "the analysis failed 1 times"}]


@pytest.mark.parametrize("state", [*StudyState, RevisionState.READY, RevisionState.ANALYSING])
def test_whoever_waits_for_an_answer_is_told_why(state: str) -> None:
    row = {"study_instance_uid": STUDY, "revision": 1, "outcome": None, "state": state, "triage": None}
    (reason,) = unanalysed_entry(row, {})["reasons"]
    assert reason["text"]


@pytest.mark.usefixtures("told")
def test_results_as_csv_have_a_header_and_a_line_per_study() -> None:
    rows = list(csv.DictReader(io.StringIO(_say("results", "--format", "csv").stdout)))
    assert {row["study_instance_uid"] for row in rows} == {STUDY, OTHER}
    (present,) = [row for row in rows if row["study_instance_uid"] == STUDY]
    assert (present["outcome"], present["deliveries_stored"], present["deliveries_refused"]) == (
        "present",
        "1",
        "1",
    )


def test_what_was_less_than_it_should_be_is_told_with_the_result(engine: Engine) -> None:
    note = "the light model answered"
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection))
        weaker = replace(analysis(), degradations=(note, "one series was not looked at"))
        assert analyses.record_analysis(connection, held, weaker, NOW, [])
    assert f"because; note: {note}" in _say("results").stdout
    (row,) = csv.DictReader(io.StringIO(_say("results", "--format", "csv").stdout))
    assert row["notes"] == f"{note}; one series was not looked at"
    (entry,) = json.loads(_say("results", "--format", "json").stdout)
    assert entry["degradations"] == [note, "one series was not looked at"]
    assert f"Notes      {note}; one series was not looked at" in _say("why", STUDY).stdout


@pytest.mark.usefixtures("told")
def test_a_narrow_table_tells_the_whole_accession_number_and_why(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine.begin() as connection:
        connection.execute(text("update studies set accession_number = 'A298277151'"))
    monkeypatch.setenv("COLUMNS", "80")
    told = _say("results").stdout
    assert "A298277151" in told
    assert "because" in told


def test_objects_of_one_fate_are_told_in_one_line(engine: Engine) -> None:
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection))
        analysed(connection, held, *(written(number, "pacs") for number in range(1, 23)))
    (line,) = [line for line in _say("why", STUDY).stdout.splitlines() if " to pacs: " in line]
    assert line.endswith("(22 objects)")


@pytest.mark.usefixtures("told")
def test_results_are_limited_to_the_newest() -> None:
    assert len(json.loads(_say("results", "--format", "json", "--limit", "1").stdout)) == 1


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_no_study_yet_is_no_error(form: str) -> None:
    _say("results", "--format", form)


def test_a_csv_without_a_study_has_its_header_all_the_same() -> None:
    (header,) = _say("results", "--format", "csv").stdout.splitlines()
    assert header.startswith("study_instance_uid,accession_number,")


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize("key", [STUDY, "A1"])
def test_why_tells_outcome_series_hops_deliveries_and_the_last_error(key: str) -> None:
    text = _say("why", key).stdout
    assert f"Study      {STUDY}" in text
    assert "Outcome    present (triage urgent), state analysed, revision 1, attempts 2" in text
    assert "taken   MR  T1: fits [eligible]" in text
    hops = [line.split()[2] for line in text.splitlines() if line.startswith("  20")]
    assert hops[:8] == [
        "received",
        "quiet",
        "ready",
        "analysing",
        "attempt_failed",
        "analysing",
        "analysed",
        "stored",
    ]
    assert "page     to pacs: stored after 1 try; stored" in text
    assert "page     to pacs: refused after 1 try; refused: not authorised (0x0124)" in text
    assert "ValueError: first try" in text


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize(
    ("values", "words"),
    [
        ("committed_at = '2026-01-02 03:04:05+00'", "stored; committed 2026-01-02 03:04:05"),
        ("found_at = '2026-01-02 03:04:05+00'", "stored; found there 2026-01-02 03:04:05"),
        ("proof = 'not found there yet'", "stored; not found there yet"),
        ("alarmed_at = '2026-01-02 03:04:05+00'", "stored; ALARM since 2026-01-02 03:04"),
    ],
)
def test_why_tells_the_proof_of_a_delivery_and_its_alarm(engine: Engine, values: str, words: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(f"update deliveries set {values} where state = 'stored'")  # noqa: S608
    assert words in _say("why", STUDY).stdout


def _dead_destination(engine: Engine, *, objects: int, alarms: int) -> None:
    """Seven objects wait for a destination that is dead; the alarm was raised again and again."""
    sentence = "PACS at 10.0.0.1:104 does not answer: no connection within 10 s"
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection))
        analysed(connection, held, *(written(number, "dead") for number in range(1, objects + 1)))
        right = destinations.take(connection, "dead", owner="w1", lease_s=60)
        assert right is not None
        for _ in range(alarms):
            due = deliveries.due(connection, "dead")
            for delivery in due:
                deliveries.begin(connection, right, delivery.id)
                deliveries.settle(connection, right, delivery, DeliveryState.WAITING, sentence)
            (alarm,) = deliveries.alarm(connection, "dead", due, after_s=0)
            assert (alarm.status, alarm.objects, alarm.fresh) == (sentence, objects, True)
            assert deliveries.alarm(connection, "dead", due, after_s=0) == []
            connection.execute(text("update deliveries set alarmed_at = null"))
        deliveries.alarm(connection, "dead", deliveries.due(connection, "dead"), after_s=0)
        connection.execute(text("update deliveries set next_try_at = '2026-01-02 03:04:05+00'"))


def test_why_tells_a_dead_destination_in_one_line_and_its_alarms_in_another(engine: Engine) -> None:
    _dead_destination(engine, objects=7, alarms=10)
    lines = _say("why", STUDY).stdout.splitlines()
    (hop,) = [line for line in lines if "delivery_alarm" in line]
    assert "destination=dead" in hop
    assert "(11 times, last 20" in hop
    (sent,) = [line for line in lines if " to dead: " in line]
    assert sent.startswith("  page     to dead: waiting after 10 tries; PACS at 10.0.0.1:104 does not answer")
    assert "; next try 2026-01-02 03:04:05; ALARM since 20" in sent
    assert sent.endswith("(7 objects)")


def test_one_cause_is_one_alarm_however_many_studies_wait(engine: Engine) -> None:
    with engine.begin() as connection:
        for number in (1, 2, 3):
            held = claimed(connection, ready_revision(connection, study=f"1.2.{number}"))
            analysed(connection, held, written(number, "dead"))
        right = destinations.take(connection, "dead", owner="w1", lease_s=60)
        assert right is not None
        due = deliveries.due(connection, "dead")
        for delivery in due:
            deliveries.settle(connection, right, delivery, DeliveryState.WAITING, "it does not answer")
        (alarm,) = deliveries.alarm(connection, "dead", due[:2], after_s=0)
        assert (alarm.objects, alarm.fresh) == (2, True)
        (later,) = deliveries.alarm(connection, "dead", due, after_s=0)
        assert (later.objects, later.fresh) == (1, False)


def test_why_of_what_was_not_tried_yet_says_so(engine: Engine) -> None:
    with engine.begin() as connection:
        analysed(connection, claimed(connection, ready_revision(connection)), written(1, "pacs"))
    (sent,) = [line for line in _say("why", STUDY).stdout.splitlines() if " to pacs: " in line]
    assert sent.startswith("  page     to pacs: waiting, not tried yet; next try 20")


def test_why_tells_what_a_destination_says_in_its_own_words(engine: Engine) -> None:
    with engine.begin() as connection:
        analysed(connection, claimed(connection, ready_revision(connection)), written(1, "pacs"))
        right = destinations.take(connection, "pacs", owner="w1", lease_s=60)
        assert right is not None
        (due,) = deliveries.due(connection, "pacs")
        state = DeliveryState.REFUSED
        deliveries.settle(connection, right, due, state, "refused: (0xC000)", comment="no such patient")
    assert 'refused: (0xC000); it says "no such patient"' in _say("why", STUDY).stdout


@pytest.mark.usefixtures("told")
def test_a_table_in_a_pipe_is_not_cut(monkeypatch: pytest.MonkeyPatch, engine: Engine) -> None:
    monkeypatch.delenv("COLUMNS")
    long = "1.2.840.113619.2.55.3.604688119.971.1234567890.123456789"
    with engine.begin() as connection:
        connection.execute(text("update studies set accession_number = :long"), {"long": long})
        connection.execute(text('update analyses set reasons = \'[{"text": "' + "w" * 300 + "\"}]'"))
    told = _say("results").stdout
    assert f"{STUDY} {long} " in told
    assert "w" * 300 in told


@pytest.mark.usefixtures("told")
def test_why_of_a_study_that_just_came_says_what_is_known() -> None:
    text = _say("why", OTHER).stdout
    assert "Outcome    - (triage -), state open, revision -, attempts 0" in text
    assert "not judged yet" in text


@pytest.mark.usefixtures("told")
def test_why_of_an_unknown_study_ends_with_1() -> None:
    answer = _say("why", "9.9.9", exit_code=1)
    assert answer.stdout == ""
    assert answer.stderr == "no study has the StudyInstanceUID or accession number 9.9.9\n"


def test_a_database_without_our_schema_is_told_in_a_line(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = make_url(database_url).set(database="postgres").render_as_string(hide_password=False)
    monkeypatch.setenv("NEUROTRIAGE__DATABASE__URL", empty)
    answer = _say("results", exit_code=1)
    assert answer.stderr == "database: there are no tables of ours: run `neurotriage migrate`\n"


@pytest.mark.parametrize("words", [["results"], ["why", STUDY], ["migrate"]])
def test_a_database_that_does_not_answer_is_told_in_a_line(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"postgresql+psycopg2://nobody@/nothing?host={tmp_path}"
    monkeypatch.setenv("NEUROTRIAGE__DATABASE__URL", url)
    answer = _say(*words, exit_code=1)
    assert answer.stderr.startswith("database: ")
