"""``prioritise`` moves a study at once, and ``results`` and ``why`` tell its class and the evidence."""

import csv
import io
import json
from dataclasses import replace

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner, Result

from db.studies import leases
from db.studies.instances import record_instances
from neurotriage.cli import app
from neurotriage.core.settings import CONFIG_VARIABLE, Settings
from neurotriage.dicom.priority import PriorityRules
from tests.db.rows import RECEPTION, STUDY, analysed, claimed, header, ready_revision, receive

OTHER = "1.2.4"


@pytest.fixture(autouse=True)
def _configured(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, "/dev/null")
    monkeypatch.setenv("NEUROTRIAGE__DATABASE__URL", database_url)
    monkeypatch.setenv("COLUMNS", "200")


def _say(*words: str, exit_code: int = 0) -> Result:
    answer = CliRunner().invoke(app, words)
    assert answer.exit_code == exit_code, answer.output
    return answer


def _next(engine: Engine) -> int:
    with engine.begin() as connection:
        held = leases.claim_next(connection, owner="w", lease_s=60, attempts=4)
    assert held is not None
    return held.revision_id


def test_a_study_that_waits_is_taken_next_once_it_is_prioritised(engine: Engine) -> None:
    with engine.begin() as connection:
        first = ready_revision(connection)
        second = ready_revision(connection, study=OTHER)
    assert f"{OTHER}  is urgent now; state ready" in _say("prioritise", OTHER).output
    assert [_next(engine), _next(engine)] == [second, first]


@pytest.mark.parametrize("word", ["routine", "backlog"])
def test_a_study_can_be_put_back(engine: Engine, word: str) -> None:
    with engine.begin() as connection:
        ready_revision(connection)
    _say("prioritise", STUDY)
    assert f"is {word} now" in _say("prioritise", STUDY, f"--{word}").output
    assert f"Served as  {word} (neurotriage prioritise)" in _say("why", STUDY).output
    assert "prioritised basis=command priority=urgent" in _say("why", STUDY).output


def test_an_unknown_study_and_two_classes_are_refused() -> None:
    assert "no study has" in _say("prioritise", "1.2.9", exit_code=1).output
    _say("prioritise", STUDY, "--routine", "--backlog", exit_code=2)


def test_results_and_why_tell_the_class_and_what_decided(engine: Engine) -> None:
    rules = PriorityRules.of(Settings.model_validate({"priority": {"locations": ["ED"]}}))
    with engine.begin() as connection:
        urgent = replace(header(1), patient_location="ED")
        record_instances(connection, [(urgent, RECEPTION)], priorities=rules)
        receive(connection, 1, study=OTHER)
    why = _say("why", STUDY).output
    assert "Served as  urgent ((0038,0300) Current Patient Location = ED)" in why
    assert "Served as  routine (nothing says otherwise)" in _say("why", OTHER).output
    (line,) = [line for line in _say("results").stdout.splitlines() if STUDY in line]
    assert "(urgent)" in line
    (entry,) = json.loads(_say("results", STUDY, "--format", "json").stdout)
    evidence = "(0038,0300) Current Patient Location = ED"
    assert entry["served"] == {"as": "urgent", "basis": "location", "evidence": evidence}
    (row,) = csv.DictReader(io.StringIO(_say("results", STUDY, "--format", "csv").stdout))
    assert (row["priority"], row["priority_basis"], row["priority_evidence"]) == (
        "urgent",
        "location",
        evidence,
    )


def test_many_studies_that_are_reprocessed_wait_in_the_backlog_and_a_single_one_does_not(
    engine: Engine,
) -> None:
    with engine.begin() as connection:
        analysed(connection, claimed(connection, ready_revision(connection)))
        analysed(connection, claimed(connection, ready_revision(connection, study=OTHER)))
    _say("reprocess", STUDY)
    assert "Served as  routine" in _say("why", STUDY).output
    with engine.begin() as connection:
        held = leases.claim_next(connection, owner="w", lease_s=60, attempts=4)
        assert held is not None
        analysed(connection, held)
    _say("reprocess", STUDY, OTHER)
    for study in (STUDY, OTHER):
        assert "Served as  backlog (analysed again with 1 others)" in _say("why", study).output
