"""``summary`` shows the text about a study, its origin and its facts, and makes it anew when told to."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner, Result

from db.studies import analyses
from db.studies.summaries import KeptSummary
from neurotriage.cli import app
from neurotriage.core.settings import CONFIG_VARIABLE
from neurotriage.core.summary import Language
from neurotriage.core.summary_text import summary_lines, summary_of
from tests.db.rows import NOW, STUDY, analysis, claimed, ready_revision, receive
from tests.results.told import told
from worker.telling import retell

OTHER = "1.2.4"
FACTS = {"outcome": "present", "sides": ["left"]}


@pytest.fixture(autouse=True)
def _configured(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, "/dev/null")
    monkeypatch.setenv("NEUROTRIAGE__DATABASE__URL", database_url)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def study(engine: Engine) -> None:
    """A study with a German text, and one that just came."""
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection))
        words = KeptSummary(told(Language.GERMAN), FACTS)
        assert analyses.record_analysis(connection, held, analysis(), NOW, [], text=words)
        receive(connection, 1, study=OTHER)


def _say(*words: str, exit_code: int = 0) -> Result:
    answer = CliRunner().invoke(app, words)
    assert answer.exit_code == exit_code, answer.output
    return answer


@pytest.mark.usefixtures("study")
def test_text_origin_and_facts_are_shown() -> None:
    shown = _say("summary", STUDY).stdout
    for line in summary_lines(told(Language.GERMAN)):
        assert line in shown
    assert "(Text nach Vorlage)" in shown
    assert 'sides: ["left"]' in shown


@pytest.mark.usefixtures("study")
def test_facts_and_text_are_exported(tmp_path: Path) -> None:
    file = tmp_path / "text.json"
    _say("summary", STUDY, "--json", str(file))
    (entry,) = json.loads(file.read_text())
    assert (entry["study_instance_uid"], entry["revision"], entry["facts"]) == (STUDY, 1, FACTS)
    assert summary_of(entry["summary"]) == told(Language.GERMAN)


@pytest.mark.usefixtures("study")
def test_a_study_without_a_text_says_what_it_is() -> None:
    assert "no text: it is open" in _say("summary", OTHER, exit_code=1).stdout
    assert "no study has" in _say("summary", "9.9", exit_code=1).stderr


@pytest.mark.usefixtures("study")
def test_results_and_why_have_the_text() -> None:
    (entry,) = json.loads(_say("results", STUDY, "--format", "json").stdout)
    assert summary_of(entry["summary"]) == told(Language.GERMAN)
    (waiting,) = json.loads(_say("results", OTHER, "--format", "json").stdout)
    assert waiting["summary"] is None
    assert "Text       Das Modell neigt zu einer Seite." in _say("why", STUDY).stdout


@pytest.mark.usefixtures("study")
def test_again_makes_the_text_of_the_study_before_it_is_shown(
    monkeypatch: pytest.MonkeyPatch, engine: Engine
) -> None:
    def told_again(at: Engine, settings: Any, study_id: int) -> None:
        assert settings.summary.language is Language.GERMAN
        with at.begin() as connection:
            connection.execute(text("update summaries set author = 'again', origin = 'model'"))

    monkeypatch.setenv("NEUROTRIAGE__SUMMARY__LANGUAGE", "de")
    monkeypatch.setattr(retell, "retell", told_again)
    shown = _say("summary", STUDY, "--again").stdout
    assert "nothing was made" in shown
    assert "Text ausgewählt von again" in shown


@pytest.mark.usefixtures("study")
def test_again_without_what_the_analysis_kept_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEUROTRIAGE__STORAGE__ROOT", str(tmp_path))
    assert "cannot be read or written (No such file or directory)" in _say("summary", STUDY, "--again").stdout
