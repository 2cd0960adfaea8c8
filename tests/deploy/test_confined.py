"""The product does its work within what the units allow, and ends when systemd asks it to."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from neurotriage.core.process.role import Role
from neurotriage.demo.pacs import StandInPacs
from neurotriage.demo.studies import head_mr
from neurotriage.embedded import process, stack
from tests.conftest import ROOT, absent
from tests.deploy.units import UNITS
from tests.scenarios.conftest import opened

pytestmark = pytest.mark.scenario

_UNITS = {
    "listen": "neurotriage-listen.service",
    Role.ANALYSIS: "neurotriage-work@.service",
    Role.DELIVERY: "neurotriage-work@.service",
}


def test_a_study_is_received_analysed_and_delivered_within_what_the_units_allow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("systemd-analyze") is None:
        absent("systemd", "systemd-analyze is not installed (Debian: apt install systemd)")

    def confined(arguments: list[str], log: Path, **more: Any) -> Any:
        unit = UNITS / _UNITS[log.stem]
        environment = {**more.pop("environment"), "PYTHONPATH": str(ROOT)}
        runner = [sys.executable, "-m", "tests.deploy.sandbox", str(unit)]
        return process.spawn([*runner, *arguments], log, environment=environment, **more)

    monkeypatch.setattr(stack, "spawn", confined)
    whole = head_mr()
    first = whole.datasets[0].SeriesInstanceUID
    series = tuple(dataset for dataset in whole.datasets if dataset.SeriesInstanceUID == first)
    study = replace(whole, datasets=series)
    with StandInPacs(tmp_path / "pacs", ae_title="PACS") as pacs, opened(tmp_path, pacs) as site:
        site.send(study)
        row = site.wait_for_end(study)
        assert row["outcome"] == "present"
        assert row["deliveries"] == row["deliveries_stored"] > 0
        analysis = site.stack.process(Role.ANALYSIS)
        status = Path(f"/proc/{analysis.pid}/status").read_text()
        assert "Seccomp:\t2" in status  # SECCOMP_MODE_FILTER: the test held what it says
        assert "NoNewPrivs:\t1" in status
