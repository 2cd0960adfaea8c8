"""No value of a header stands in any log of any process, and each line of a log is JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom import dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from neurotriage.demo.pacs import StandInPacs
from neurotriage.demo.studies import SampleStudy, head_ct
from tests.scenarios.conftest import opened

pytestmark = pytest.mark.scenario

CANARY = "CANARYKANARI"
# Texts, and values that are none of their type: those are what libraries complain of.
TEXTS = ("PatientName", "PatientComments", "StudyDescription", "SeriesDescription", "ReferringPhysicianName")
WRONG = {
    "PatientBirthDate": "DA", "PatientAge": "AS", "PatientWeight": "DS", "StudyTime": "TM",
    "SeriesNumber": "IS", "AccessionNumber": "SH", "ImageComments": "LT", "PatientSex": "CS",
    "SliceLocation": "DS",
}  # fmt: skip


@pytest.fixture
def telling() -> SampleStudy:
    """A study whose headers are full of a name, also where none belongs."""
    study = head_ct()
    for dataset in study.datasets:
        for name in TEXTS:
            setattr(dataset, name, f"{CANARY}^{name}")
        for name, vr in WRONG.items():
            dataset.add_new(name, vr, None)
            dataset[name]._value = f"{CANARY}{name}"
    return study


def json_lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_logs_of_all_roles_hold_no_value_and_are_json(tmp_path: Path, telling: SampleStudy) -> None:
    with StandInPacs(tmp_path / "pacs", ae_title="PACS") as pacs, opened(tmp_path, pacs) as site:
        site.send(telling)
        site.wait_for_end(telling)
        stack = site.stack
    for role in ("listen", "analysis", "delivery"):
        said = stack.log(role).read_text()
        assert CANARY not in said.upper(), role
        assert json_lines(said), role
    assert pacs.received()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_log_of_a_folder_run_holds_no_value_and_is_json(tmp_path: Path, telling: SampleStudy) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number, dataset in enumerate(telling.datasets):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta = meta
        dcmwrite(folder / f"{number}.dcm", dataset, enforce_file_format=True)
    (folder / "notes.txt").write_text(CANARY)
    ran = subprocess.run(
        [sys.executable, "-m", "neurotriage", "run", str(folder), "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "NEUROTRIAGE_CONFIG": os.devnull, "PYTHONWARNINGS": "always"},
    )
    assert CANARY not in ran.stderr.upper()
    assert any(line["event"] == "passed_over" for line in json_lines(ran.stderr))
