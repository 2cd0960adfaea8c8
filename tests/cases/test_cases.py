"""Inputs with one oddity each, as public bug reports describe them, end as a careful person accepts."""

import csv
import io
import json
import os
import random
import re
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pydicom
import pytest
from typer.testing import CliRunner

from neurotriage.cli import app
from neurotriage.core.result_json import study_entry
from neurotriage.core.settings import CONFIG_VARIABLE, WorkerSettings
from neurotriage.dicom.manifest import scan_folder
from tests.conftest import ROOT, absent
from tests.eligibility.rule import RULE
from worker.analysis import analyse, select_series
from worker.vision import Models, load_models, read_registry

CASES = Path(os.environ.get("NEUROTRIAGE_TEST_CASES", ROOT / ".." / "shared" / "cases")).resolve()
TABLE = CASES / "cases.csv"
WEIGHTS = WorkerSettings().weights


def _rows() -> list[dict[str, str]]:
    if not TABLE.is_file():
        return []
    with TABLE.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


ROWS = {row["name"]: row for row in _rows()}


@pytest.fixture(autouse=True)
def _there() -> None:
    if not ROWS:
        absent("cases", f"no cases at {CASES}; set NEUROTRIAGE_TEST_CASES")


@pytest.fixture(scope="module")
def models() -> Models:
    return load_models(WEIGHTS, threads=1)


def unpacked(name: str, folder: Path) -> Path:
    """The folder with the files of a case."""
    with zipfile.ZipFile(CASES / f"{name}.zip") as archive:
        archive.extractall(folder)
    return folder / "dicom"


def assert_accepted(row: Mapping[str, str], entry: Mapping[str, Any]) -> None:
    """The study of a row of ``cases.csv`` ended with an outcome and words that the row accepts."""
    words = " ".join([*(reason["text"] for reason in entry["reasons"]), *entry["degradations"]])
    assert entry["outcome"] in row["outcomes"].split("|"), words
    must_be_told = row["told"].removeprefix("?")
    if must_be_told and not (row["told"].startswith("?") and entry["outcome"] == "present"):
        assert re.search(must_be_told, words, re.IGNORECASE), words
    if entry["outcome"] == "present":  # a page, overlays and a report, with findings in them
        assert {result["kind"] for result in entry["results"]} >= {"page", "overlay", "report"}
        assert entry["findings"]


@pytest.mark.parametrize("name", ROWS or ["(none)"])
def test_a_case_ends_as_a_careful_person_accepts(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, "/dev/null")
    row, out = ROWS[name], tmp_path / "out"
    answer = CliRunner().invoke(app, ["run", str(unpacked(name, tmp_path)), "--out", str(out)])
    assert answer.exit_code == 0, answer.output
    (entry,) = json.loads((out / "result.json").read_text())
    assert_accepted(row, entry)


def _end(folder: Path, models: Models) -> dict[str, Any]:
    """The end of a study, with images named by their instance numbers and pixels in place of UIDs."""
    (study,) = scan_folder(folder).studies
    selection = select_series(study, RULE)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    analysis, evidence = analyse(selection, read_registry(WEIGHTS).modalities, lambda: models, at)
    names = {
        str(header.SOPInstanceUID): (int(header.InstanceNumber), hash(header.PixelData))
        for header in map(pydicom.dcmread, folder.iterdir())
    }
    entry = study_entry(analysis, [])
    told = [re.sub(r"series [0-9.]+", "series", text) for text in entry["degradations"]]
    return {
        "ends": (entry["outcome"], entry["triage"], entry["reasons"], told),
        "said": [(p["stack"], p["probabilities"]) for p in entry["predictions"]],
        "findings": [
            (names[f["sop_instance_uid"]], f["lesion"], f["slice_index"], f["box"], f["side"])
            for f in entry["findings"]
        ],
        "stacks": [
            (row.stack, [names[source.sop_instance_uid] for source in row.slices]) for row in analysis.series
        ],
        "heat": [(names[s.sop_instance_uid], s.heat.tobytes(), s.mask.tobytes()) for s in evidence.slices],
    }


def _renamed(folder: Path, other: Path, seed: int) -> Path:
    """The same study under UIDs and file names of chance."""
    dice = random.Random(seed)
    other.mkdir()
    files = sorted(folder.iterdir())
    series = f"2.25.{dice.randrange(10**20)}"
    for path, number in zip(files, dice.sample(range(10**6), len(files)), strict=True):
        dataset = pydicom.dcmread(path)
        dataset.SeriesInstanceUID = series
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = (
            f"2.25.{dice.randrange(10**20)}"
        )
        buffer = io.BytesIO()
        dataset.save_as(buffer)
        (other / f"{number}.dcm").write_bytes(buffer.getvalue())
    return other


@pytest.mark.parametrize("name", ["dixon_seed_a_mr", "two_phases_ct"])
def test_other_uids_and_another_order_change_nothing(name: str, tmp_path: Path, models: Models) -> None:
    folder = unpacked(name, tmp_path)
    end = _end(folder, models)
    for seed in (1, 2):
        assert _end(_renamed(folder, tmp_path / str(seed), seed), models) == end
