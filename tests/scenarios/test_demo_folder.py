"""``neurotriage demo FOLDER``: the show with anybody's studies."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.scenario

HEAD, KNEE = "brain_mr_ge_pd_axial", "not_a_brain/knee_mr_j2k"
# Its SOP class is nobody's: no listener takes it.
NOT_SENDABLE = "odd/ct_perfusion_4d_tiny"


def _demo(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "neurotriage", "demo", *words],
        cwd=folder,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def test_any_folder_of_dicom_is_shown_study_by_study(tmp_path: Path, data_dir: Path) -> None:
    for number, name in enumerate((HEAD, KNEE, NOT_SENDABLE)):
        shutil.copytree(data_dir / "dicom" / name, tmp_path / "in" / str(number))
    (tmp_path / "in" / "notes.dcm").write_text("hello, I am a text file\n" * 40)
    shown = _demo(tmp_path, "in", "--output", "out")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    for promise in ("19 of 19 instances stored", "8 of 8 instances stored", "not sent: study of 8 files"):
        assert promise in shown.stdout
    entries = json.loads((tmp_path / "out" / "result.json").read_text())
    outcomes = {entry["outcome"] for entry in entries}
    assert "not_eligible" in outcomes
    assert outcomes & {"absent", "undetermined"}
    assert len(list((tmp_path / "out" / "results").glob("*/*.png"))) >= len(entries) == 2


def test_a_folder_without_dicom_is_told_and_nothing_is_started(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("hello")
    shown = _demo(tmp_path, "in", "--output", "out")
    assert shown.returncode == 1
    assert "the demo failed: no DICOM study in" in shown.stdout
    assert not (tmp_path / "out" / "servers").exists()


def test_a_folder_below_the_output_is_not_emptied(tmp_path: Path) -> None:
    precious = tmp_path / "out" / "in" / "study.dcm"
    precious.parent.mkdir(parents=True)
    precious.write_text("mine")
    shown = _demo(tmp_path, "out/in", "--output", "out")
    assert shown.returncode == 1
    assert "choose another --output" in shown.stdout
    assert precious.exists()
