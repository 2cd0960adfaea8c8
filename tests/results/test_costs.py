"""``python -m bench.results`` says what results cost, and the report keeps to its limits."""

import json
from pathlib import Path

import pytest

from bench import results


def test_the_figures_have_the_agreed_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "STUDIES", ((25, 64), (150, 64)))
    monkeypatch.setattr(results, "RUNS", 1)
    monkeypatch.setattr(results, "_inference_s", lambda made: None)
    file = tmp_path / "figures.json"
    assert results.main(["--json", str(file)]) == 0
    studies = json.loads(file.read_text())["studies"]
    assert [study["slices"] for study in studies] == [25, 150]
    for study in studies:
        assert set(study) >= {"sr_s", "sr_bytes", "all_s", "share_of_inference"}
        assert 0 < study["sr_bytes"] <= 100 * 1024
        assert min(study["sr_s"], study["all_s"]) > 0  # of one run each nobody knows which takes longer
        assert study["share_of_inference"] is None
