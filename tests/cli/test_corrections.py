"""``identity`` and ``reject`` show what they take back, ask, and do it at once."""

import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner, Result

from neurotriage.cli import app
from neurotriage.core.settings import CONFIG_VARIABLE
from tests.db.rows import STUDY, analysed, claimed, ready_revision, sending_right, stored, written


@pytest.fixture(autouse=True)
def _configured(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, "/dev/null")
    monkeypatch.setenv("NEUROTRIAGE__DATABASE__URL", database_url)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture(autouse=True)
def _a_study_with_results(engine: Engine) -> None:
    with engine.begin() as connection:
        analysed(connection, claimed(connection, ready_revision(connection, 1, 2)), written(1, "pacs"))
        stored(connection, sending_right(connection))


def _say(*words: str, exit_code: int = 0, answer: str = "") -> Result:
    said = CliRunner().invoke(app, words, input=answer)
    assert said.exit_code == exit_code, said.output
    return said


def _states(engine: Engine) -> list[tuple[object, ...]]:
    with engine.connect() as connection:
        rows = connection.execute(
            text("select s.state, r.state from studies s join revisions r on r.study_id = s.id")
        )
        return [tuple(row) for row in rows]


def test_what_would_be_withdrawn_is_shown_and_nothing_happens_without_a_yes(engine: Engine) -> None:
    said = _say("identity", STUDY, "--patient", "B2", answer="n\n", exit_code=1).output
    assert f"{STUDY}  patient P1, images 2, results at destinations 1" in said
    assert "patient B2, issuer (none), name (none)" in said
    assert "nothing was changed" in said
    assert _states(engine) == [("quiet", "analysed")]


def test_a_corrected_study_opens_at_once_and_its_results_are_withdrawn(engine: Engine) -> None:
    said = _say("identity", "A1", "--patient", "B2", "--birth-date", "19600202", answer="y\n").output
    assert "1 of 1 studies are corrected" in said
    assert _states(engine) == [("open", "withdrawn")]
    history = _say("why", STUDY).output
    assert "identity_corrected" in history
    assert "Patient ID B2" in history
    _say("identity", STUDY, "--patient", "B2", "--birth-date", "19600202", "--yes", exit_code=1)


@pytest.mark.parametrize(
    "words", [("--patient", ""), ("--patient", "B", "--birth-date", "1960"), ("--patient", "B", "--sex", "X")]
)
def test_an_identity_that_no_archive_could_file_is_refused(engine: Engine, words: tuple[str, ...]) -> None:
    _say("identity", STUDY, *words, "--yes", exit_code=2)
    assert _states(engine) == [("quiet", "analysed")]


def test_rejected_images_leave_the_study(engine: Engine) -> None:
    assert "images rejected: 1" in _say("reject", STUDY, "--instance", f"{STUDY}.9.1", "--yes").output
    assert "images rejected: 1" in _say("reject", STUDY, "--series", f"{STUDY}.1", "--yes").output
    _say("reject", STUDY, "--yes", exit_code=1)
    assert _states(engine) == [("open", "withdrawn")]


@pytest.mark.parametrize("command", [("identity", "--patient", "B"), ("reject",)])
def test_an_unknown_study_is_told(command: tuple[str, ...]) -> None:
    assert "no study has" in _say(*command, "2.25.404", exit_code=1).output
