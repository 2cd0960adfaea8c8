"""``commitments`` shows what peers asked of us, and whether they were told."""

from datetime import timedelta

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from db import commitments
from neurotriage.cli import app
from neurotriage.core.settings import CONFIG_VARIABLE
from neurotriage.core.states import CommitmentState
from neurotriage.dicom.commitment import FailureReason
from neurotriage.dicom.commitment_request import CommitmentRequest
from tests.db.rows import NOW


@pytest.fixture(autouse=True)
def _configured(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, "/dev/null")
    monkeypatch.setenv("NEUROTRIAGE__DATABASE__URL", database_url)
    monkeypatch.setenv("COLUMNS", "250")


def _say(*words: str) -> str:
    answer = CliRunner().invoke(app, ["commitments", *words])
    assert answer.exit_code == 0, answer.output
    return answer.output


def test_each_transaction_is_shown_with_its_state_and_what_failed(engine: Engine) -> None:
    assert "no peer has asked" in _say()
    with engine.begin() as connection:
        for number, transaction in enumerate(("2.25.1", "2.25.2", "2.25.3")):
            commitments.record_request(
                connection,
                CommitmentRequest(transaction, (("1.2", "1.3"), ("1.2", "1.4"))),
                peer_ae_title="CT1",
                called_ae_title="NEUROTRIAGE",
                peer_host="10.1.2.3",
                requested_at=NOW + timedelta(seconds=number),
            )
        due = commitments.undecided(connection, recorded_until=NOW + timedelta(seconds=1), waited_until=NOW)
        for transaction_ in due:
            failed = [("1.2", "1.4", FailureReason.NO_SUCH_OBJECT)]
            commitments.record_decision(connection, transaction_, [], failed)
        first, second = commitments.due_reports(connection)
        commitments.end_report(connection, first, CommitmentState.REPORTED, "answered 0x0000")
        commitments.postpone(connection, second, "CT1 does not answer", in_s=60)
    lines = {
        uid: line for line in _say().splitlines() for uid in ("2.25.1", "2.25.2", "2.25.3") if uid in line
    }
    assert "reported" in lines["2.25.1"]
    assert "1: 1.4 (0x0112)" in lines["2.25.1"]
    assert "waiting" in lines["2.25.2"]
    assert "CT1 does not answer" in lines["2.25.2"]
    assert "not decided yet" in lines["2.25.3"]
    assert "2.25.1" not in _say("--open")
    assert "2.25.3" in _say("--limit", "1")
