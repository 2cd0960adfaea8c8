"""``neurotriage pause``, ``resume``, ``release`` and ``cancel``."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner, Result

from neurotriage.cli import app
from neurotriage.core.settings import CONFIG_VARIABLE
from tests.db.rows import analysed, claimed, ready_revision, receive, written

Call = Callable[..., Result]


@pytest.fixture
def call(engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    config = tmp_path / "neurotriage.toml"
    config.write_text(
        f'[database]\nurl = "{database_url}"\n'
        '[[destination]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = 104\nhold = true\n'
    )
    monkeypatch.setenv(CONFIG_VARIABLE, str(config))
    return lambda *words: CliRunner().invoke(app, words)


def test_what_rests_is_listed_with_who_said_so_and_goes_on_when_told(call: Call) -> None:
    assert call("pause").stdout == "nothing rests\n"
    said = call("pause", "pacs", "--for", "2h", "--reason", "archive is upgraded")
    assert said.exit_code == 0
    assert "pacs  rests since" in said.stdout
    assert "archive is upgraded" in call("pause").stdout
    assert "somebody resumes it" in call("pause", "analysis").stdout
    assert call("resume", "pacs").stdout == "pacs goes on\n"
    assert call("resume", "pacs").exit_code == 1


@pytest.mark.parametrize(
    "words", [("elsewhere",), ("pacs", "--for", "2"), ("pacs", "--for", "0m"), ("--for", "2h")]
)
def test_what_cannot_be_paused_is_refused(call: Call, words: tuple[str, ...]) -> None:
    assert call("pause", *words).exit_code == 2
    assert call("pause").stdout == "nothing rests\n"


def test_results_that_are_held_are_released(call: Call, engine: Engine) -> None:
    with engine.begin() as connection:
        own = replace(written(1, "pacs"), held=frozenset({"pacs"}))
        analysed(connection, claimed(connection, ready_revision(connection, study="1.2.3")), own)
    assert "held, not tried yet; until somebody releases it" in call("why", "1.2.3").stdout
    assert call("release").exit_code == 2
    assert call("release", "1.2.9").exit_code == 1
    assert call("release", "1.2.3").stdout == "1 results wait to be sent\n"
    assert call("release", "--all").stdout == "nothing is held\n"


def test_a_study_is_cancelled_where_somebody_is_sure(call: Call, engine: Engine) -> None:
    with engine.begin() as connection:
        ready_revision(connection, study="1.2.3")
    assert call("cancel", "1.2.3").exit_code == 1  # nobody answers
    said = call("cancel", "1.2.3", "--yes", "--reason", "phantom")
    assert said.stdout == "revisions cancelled: 1; results that are not sent: 0\n"
    assert said.stderr == ""
    with engine.connect() as connection:
        assert connection.execute(text("select state from revisions")).scalar_one() == "cancelled"
    history = call("why", "1.2.3").stdout
    assert "cancelled" in history
    assert "phantom" in history


def test_whoever_cancels_a_study_whose_images_still_arrive_is_told_that_it_is_analysed(
    call: Call, engine: Engine
) -> None:
    with engine.begin() as connection:
        receive(connection, 1, study="1.2.3")
    said = call("cancel", "1.2.3", "--yes")
    assert said.stdout == "revisions cancelled: 0; results that are not sent: 0\n"
    assert "it is analysed when they are complete" in said.stderr
