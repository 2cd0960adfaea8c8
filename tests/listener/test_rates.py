"""``python -m bench.listener`` says what the way in carries."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from bench import listener


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def test_the_figures_have_the_agreed_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"INSTANCES": 6, "SIDE_PX": 32, "ASSOCIATIONS": (1, 2), "RUNS": 1}.items():
        monkeypatch.setattr(listener, name, value)
    file = tmp_path / "figures.json"
    assert listener.main(["--json", str(file)]) == 0
    rates = json.loads(file.read_text())["rates"]
    assert [rate["what"] for rate in rates] == [
        "receive, 1 association",
        "receive, 2 associations",
        "ingest",
    ]
    for rate in rates:
        assert 0 < rate["slowest_per_s"] <= rate["median_per_s"] <= rate["fastest_per_s"]
        assert rate["baseline_per_s"] > 0
        assert rate["ratio"] == pytest.approx(rate["median_per_s"] / rate["baseline_per_s"], abs=1e-3)
