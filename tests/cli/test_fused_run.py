"""``run`` over a drawn study of one head in CT and MR, with random weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread, dcmwrite
from typer.testing import CliRunner

from neurotriage.cli import app
from neurotriage.core.settings import CONFIG_VARIABLE
from neurotriage.dicom.manifest import scan_folder
from neurotriage.dicom.uids import derived_uid
from neurotriage.phantom import make_pair
from tests.eligibility.rule import RULE
from tests.imaging.test_registration import registration_object
from tests.vision.synthetic import ood_limits
from tests.vision.test_fusion import both_weights, with_fusion
from worker.analysis import select_series

MR_FRAME = derived_uid("test", "another frame")


def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, light: str = "") -> dict[str, Any]:
    """The study's entry in ``result.json``; ``light``: name of the MR model that is the light one, too."""
    weights = tmp_path / "weights"
    weights.mkdir()
    with_fusion(
        both_weights(
            weights, eligibility={"min_correlation": 0.0, "min_filled_share": 0.0}, low=0.0, **ood_limits(2.0)
        )
    )
    if light:
        path = weights / "study_rule.json"
        rules = json.loads(path.read_text())
        rules["light"] = {"MR": rules["rules"]["MR"] | {"model": light}}
        path.write_text(json.dumps(rules))
    monkeypatch.setenv(CONFIG_VARIABLE, "/dev/null")
    monkeypatch.setenv("NEUROTRIAGE__WORKER__WEIGHTS", str(weights))
    monkeypatch.setenv("NEUROTRIAGE__WORKER__THREADS", "1")
    out = tmp_path / "out"
    answer = CliRunner().invoke(app, ["run", str(tmp_path / "study"), "--out", str(out)])
    assert answer.exit_code == 0, answer.output
    (entry,) = json.loads((out / "result.json").read_text())
    return dict(entry)


def test_one_head_in_ct_and_mr_is_judged_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_pair(tmp_path / "study", shape=(96, 96), slices=12)
    entry = run(tmp_path, monkeypatch)
    (fused,) = (p for p in entry["predictions"] if p["model"] == "fusion")
    assert (fused["modality"], fused["series_uid"]) == ("CT+MR", None)
    assert set(fused["left_out"]) == {"CT", "MR"}
    assert {p["model"] for p in entry["predictions"]} == {"random-CT", "random-MR", "fusion"}


def test_a_site_may_let_the_light_models_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_pair(tmp_path / "study", shape=(96, 96), slices=12)
    monkeypatch.setenv("NEUROTRIAGE__WORKER__MODELS", "light")
    entry = run(tmp_path, monkeypatch, light="random-MR")
    assert {p["model"] for p in entry["predictions"]} == {"random-CT", "random-MR"}
    assert not any("apart" in text for text in entry["degradations"])


def in_two_frames(folder: Path) -> Dataset:
    """The pair with a frame of reference of its own for the MR; returns a header of the CT."""
    make_pair(folder, shape=(96, 96), slices=12)
    for path in (folder / "MR").glob("*.dcm"):
        dataset = dcmread(path)
        dataset.FrameOfReferenceUID = MR_FRAME
        dataset.save_as(path)
    return dcmread(next((folder / "CT").glob("*.dcm")))


def test_the_same_study_in_two_frames_of_reference_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_two_frames(tmp_path / "study")
    entry = run(tmp_path, monkeypatch)
    assert "fusion" not in {p["model"] for p in entry["predictions"]}
    assert any("judged apart" in text and "frame of reference" in text for text in entry["degradations"])


def test_a_registration_in_the_study_joins_them_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ct = in_two_frames(tmp_path / "study")
    alone = selected(tmp_path / "study")
    add_registration(tmp_path / "study", ct)
    entry = run(tmp_path, monkeypatch)
    assert "fusion" in {p["model"] for p in entry["predictions"]}
    assert selected(tmp_path / "study") != alone  # so a registration that comes late is looked at


def test_a_registration_that_comes_late_to_one_modality_alone_changes_nothing(tmp_path: Path) -> None:
    ct = in_two_frames(tmp_path / "study")
    for path in (tmp_path / "study" / "CT").glob("*.dcm"):
        path.unlink()
    alone = selected(tmp_path / "study")
    add_registration(tmp_path / "study", ct)
    assert selected(tmp_path / "study") == alone


def add_registration(folder: Path, ct: Dataset) -> None:
    """An object that joins the two frames."""
    dataset = registration_object(MR_FRAME, ct.FrameOfReferenceUID, np.eye(4))
    for keyword in ("PatientID", "IssuerOfPatientID", "PatientName", "StudyInstanceUID"):
        setattr(dataset, keyword, ct[keyword].value)
    dataset.SeriesInstanceUID = derived_uid("test", "registration")
    dcmwrite(folder / "registration.dcm", dataset, enforce_file_format=True)


def selected(folder: Path) -> str:
    """What names the input of an analysis of the folder's only study."""
    (study,) = scan_folder(folder).studies
    return select_series(study, RULE).input_digest
