"""A worker reads the site's rules once, says which, and notes them for the doctor."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from structlog.testing import capture_logs

from neurotriage.core.process.role import Role
from neurotriage.core.process.running import edited_since, note_start
from neurotriage.core.settings import ConfigurationError, Settings, environment_of, load_settings
from tests.selection.site import rule
from worker import tasks
from worker.attempt import Worker

pytestmark = pytest.mark.unit

NO_CT = rule('fact = "modality", equals = "CT"')


def _settings(folder: Path) -> Settings:
    return Settings.model_validate(
        {"storage": {"root": folder}, "selection": {"rules": folder / "rules.toml"}}
    )


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> list[Worker]:
    """The workers of the applications that are made."""
    made: list[Worker] = []

    def remembered(*parts: Any) -> Worker:
        made.append(Worker(*parts))
        return made[-1]

    monkeypatch.setattr(tasks, "Worker", remembered)
    return made


def test_rules_are_read_once_before_the_pool_is_forked_and_the_log_has_their_hash(
    tmp_path: Path, workers: list[Worker]
) -> None:
    file = tmp_path / "rules.toml"
    file.write_text(NO_CT)
    digest = sha256(file.read_bytes()).hexdigest()
    with capture_logs() as logged:
        assert isinstance(tasks.worker_app(_settings(tmp_path), Role.ANALYSIS), Celery)
    file.write_text("rule = 1")  # a process that is forked later does not read it
    (worker,) = workers
    assert [r.action for r in worker.rules.rules] == ["refuse"]
    assert {"event": "rules_of_the_site", "sha256": digest, "rules": 1}.items() <= logged[0].items()


def test_wrong_rules_stop_an_analysis_worker_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text("rule = 1")
    with pytest.raises(ConfigurationError, match="write a table in double brackets"):
        tasks.worker_app(_settings(tmp_path), Role.ANALYSIS)
    tasks.worker_app(_settings(tmp_path), Role.DELIVERY)


def test_an_edit_of_the_rules_after_the_start_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text(NO_CT)
    site = _settings(tmp_path)
    note_start(site, Role.ANALYSIS, "one")
    assert edited_since(site, Role.ANALYSIS, "one") == []
    (tmp_path / "rules.toml").write_text(NO_CT + "# edited")
    assert edited_since(site, Role.ANALYSIS, "one") == ["[selection]"]
    (tmp_path / "rules.toml").unlink()
    assert edited_since(site, Role.ANALYSIS, "one") == ["[selection]"]


@pytest.mark.parametrize("named", [True, False])
def test_a_child_process_gets_the_file_by_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    site = _settings(tmp_path) if named else Settings()
    for name, value in environment_of(site).items():
        monkeypatch.setenv(name, value)
    assert load_settings().selection == site.selection
