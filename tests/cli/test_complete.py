"""``complete`` takes a study as complete, once."""

import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from neurotriage.cli import app
from neurotriage.core.settings import CONFIG_VARIABLE
from tests.db.rows import STUDY, receive


def test_a_study_to_which_images_still_come_is_analysed_by_command(
    engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, "/dev/null")
    monkeypatch.setenv("NEUROTRIAGE__DATABASE__URL", database_url)
    with engine.begin() as connection:
        receive(connection, 1)
    run = CliRunner()
    first, again, unknown = (run.invoke(app, ["complete", key]) for key in (STUDY, STUDY, "9.9"))
    assert (first.exit_code, first.output) == (0, f"{STUDY}  is analysed as revision 1\n")
    assert (again.exit_code, again.output) == (1, f"{STUDY}  is complete already: no image has come since\n")
    assert unknown.exit_code == 1
    assert "no study has" in unknown.output
    with engine.connect() as connection:
        evidence = connection.execute(text("select completed_by, state from revisions")).all()
    assert [tuple(row) for row in evidence] == [("commanded", "ready")]
