"""``retry`` and ``recall`` say what they did, and refuse what makes no sense."""

import json
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner, Result

from neurotriage.cli import app
from neurotriage.core.settings import CONFIG_VARIABLE
from tests.db.rows import STUDY, analysed, claimed, ready_revision, written
from tests.worker.weights import hollow_weights


@pytest.fixture(autouse=True)
def _configured(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, "/dev/null")
    monkeypatch.setenv("NEUROTRIAGE__DATABASE__URL", database_url)
    monkeypatch.setenv("NEUROTRIAGE__WORKER__WEIGHTS", str(hollow_weights(tmp_path)))
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def refused(engine: Engine) -> None:
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection))
        analysed(connection, held, written(1, "pacs"), written(2, "archive"))
        connection.execute(text("update deliveries set state = 'refused'"))


def _say(*words: str, exit_code: int = 0) -> Result:
    answer = CliRunner().invoke(app, words)
    assert answer.exit_code == exit_code, answer.output
    return answer


@pytest.mark.usefixtures("refused")
@pytest.mark.parametrize(
    ("words", "count"),
    [
        (("--all",), 2),
        ((STUDY,), 2),
        (("A1", "--destination", "pacs"), 1),
        (("--destination", "archive"), 1),
    ],
)
def test_retry_tells_how_many_wait_again(words: tuple[str, ...], count: int) -> None:
    assert _say("retry", *words).stdout == f"{count} results wait to be sent\n"


@pytest.mark.usefixtures("refused")
def test_retry_of_nothing_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"name": "other", "ae_title": "OTHER", "host": "localhost", "port": 104}
    monkeypatch.setenv("NEUROTRIAGE__DESTINATION", json.dumps([known]))
    assert _say("retry", "--destination", "other").stdout == "nothing was refused, given up or lost\n"
    assert "no study has" in _say("retry", "9.9.9", exit_code=1).stderr


def test_retry_to_a_misspelt_destination_is_an_error() -> None:
    answer = _say("retry", "--destination", "pasc", exit_code=1)
    assert answer.stderr == "no [[destination]] has the name pasc\n"


@pytest.mark.parametrize("words", [(), (STUDY, "--all"), ("--destination", "pacs", "--all")])
def test_retry_wants_to_know_of_what(words: tuple[str, ...]) -> None:
    assert "--all" in _say("retry", *words, exit_code=2).stderr


@pytest.mark.usefixtures("refused")
def test_recall_lists_what_a_model_produced_and_changes_nothing(engine: Engine) -> None:
    told = _say("recall", "mr", "1").stdout
    for word in (STUDY, "present", "2026-01-02 03:04"):
        assert word in told
    with engine.connect() as connection:
        assert connection.execute(text("select count(*) from revisions")).scalar() == 1


@pytest.mark.usefixtures("refused")
def test_recall_again_makes_a_revision_once(engine: Engine) -> None:
    assert "1 of 1 studies will be analysed again" in _say("recall", "mr", "1", "--again").stdout
    told = _say("recall", "mr", "1", "--again").stdout
    assert "0 of 1 studies will be analysed again" in told
    assert "1 wait to be analysed anyway" in told
    with engine.connect() as connection:
        assert connection.execute(text("select count(*) from revisions")).scalar() == 2


def test_a_model_that_said_nothing_is_told() -> None:
    assert _say("recall", "mr", "7", exit_code=1).stderr == "no study was analysed by mr 7\n"


@pytest.mark.usefixtures("refused")
def test_a_model_that_is_still_installed_is_not_recalled(engine: Engine) -> None:
    from neurotriage.core.settings import load_settings
    from worker.vision import read_registry

    card = read_registry(load_settings().worker.weights).deciding_models[0]
    with engine.begin() as connection:
        connection.execute(
            text("update model_versions set name = :name, version = :version"),
            {"name": card.name, "version": card.version},
        )
    told = _say("recall", card.name, card.version, "--again", exit_code=1)
    assert "is still installed and would give the same results" in told.stderr
    assert "neurotriage reprocess" in told.stderr
