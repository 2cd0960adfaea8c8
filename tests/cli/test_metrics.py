"""``metrics`` serves until SIGTERM, where the configuration has the table, and ``serve`` starts it then."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from neurotriage.cli import app
from neurotriage.core.settings import CONFIG_VARIABLE, MetricsSettings, Settings, StorageSettings
from neurotriage.embedded.stack import METRICS, Stack
from tests.conftest import until


@pytest.fixture(autouse=True)
def _configured(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, os.devnull)
    monkeypatch.setenv("NEUROTRIAGE__DATABASE__URL", database_url)
    monkeypatch.setenv("NEUROTRIAGE__STORAGE__ROOT", str(tmp_path))


def test_without_the_table_there_is_nothing_to_serve() -> None:
    answer = CliRunner().invoke(app, ["metrics"])
    assert "without the table [metrics]" in str(answer.exception)


def test_it_serves_until_it_is_told_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROTRIAGE__METRICS", '{"port": 0}')
    log = tmp_path / "log"
    with log.open("wb") as written:
        serving = subprocess.Popen([sys.executable, "-m", "neurotriage", "metrics"], stderr=written)
    try:
        until(lambda: "metrics_served" in log.read_text())
        (port,) = re.findall(r'"port": (\d+)', log.read_text())
        assert httpx.get(f"http://127.0.0.1:{port}/livez", timeout=20).text == "ok\n"
        assert httpx.get(f"http://127.0.0.1:{port}/readyz/listen", timeout=20).status_code == 503
    finally:
        serving.send_signal(signal.SIGTERM)
        assert serving.wait(30) == 0


def test_serve_runs_it_where_the_table_is_there(tmp_path: Path) -> None:
    storage = StorageSettings(root=tmp_path / "storage")
    for metrics in (None, MetricsSettings(port=0)):
        settings = Settings(storage=storage, metrics=metrics)
        with Stack(settings, tmp_path / "serve", ephemeral=True, roles=()) as stack:
            if metrics is None:
                assert not stack.log(METRICS).exists()
            else:
                until(lambda: "metrics_served" in stack.log(METRICS).read_text())
