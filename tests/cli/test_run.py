"""``run`` ends each folder with a named outcome, whatever lies in it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from typer.testing import CliRunner

from neurotriage.cli import app
from neurotriage.core.settings import CONFIG_VARIABLE
from neurotriage.core.values import ReasonCode
from tests.core.made import part10
from tests.imaging.made import ct_slice_of, slice_of
from tests.vision.synthetic import write_weights
from tests.worker.studies import head_ct, head_mr
from tests.worker.weights import hollow_weights
from worker.vision.model import Model, network_model
from worker.vision.registry import ModelCard


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hollow_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(autouse=True)
def _configured(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, "/dev/null")
    monkeypatch.setenv("NEUROTRIAGE__WORKER__WEIGHTS", str(weights))
    monkeypatch.setenv("NEUROTRIAGE__WORKER__THREADS", "1")


def _run(folder: Path, out: Path) -> list[dict[str, Any]]:
    answer = CliRunner().invoke(app, ["run", str(folder), "--out", str(out)])
    assert answer.exit_code == 0, answer.output
    entries: list[dict[str, Any]] = json.loads((out / "result.json").read_text())
    told = [line for line in answer.stdout.splitlines() if line and not line.startswith(" ")]
    assert len(told) == len(entries)
    assert all(entry["outcome"] in line for line, entry in zip(told, entries, strict=True))
    return entries


def _write(folder: Path, slices: list[Dataset]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, dataset in enumerate(slices):
        (folder / f"{number}.dcm").write_bytes(part10(dataset))
    return folder


def _refusal(entries: list[dict[str, Any]]) -> str:
    (entry,) = entries
    assert entry["study_instance_uid"] is None
    assert entry["outcome"] == "not_eligible"
    assert entry["results"] == []
    (reason,) = entry["reasons"]
    assert reason["code"] == ReasonCode.NO_STUDY
    return str(reason["text"])


def test_an_empty_folder_is_not_eligible(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert _refusal(_run(tmp_path / "in", tmp_path / "out")) == "the folder holds no file"


def test_a_text_file_named_dcm_is_not_eligible_and_named(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.dcm").write_text("these are notes, no DICOM")
    assert "none of 1 files is a readable DICOM image" in _refusal(_run(tmp_path / "in", tmp_path / "out"))
    answer = CliRunner().invoke(app, ["run", str(tmp_path / "in"), "--out", str(tmp_path / "out")])
    told = [json.loads(line) for line in answer.stderr.splitlines()]
    assert {"event": "passed_over", "file": "notes.dcm"}.items() <= told[0].items()


def test_a_file_cut_short_in_its_header_is_not_eligible(tmp_path: Path) -> None:
    folder = _write(tmp_path / "in", [slice_of(_picture())])
    file = folder / "0.dcm"
    file.write_bytes(file.read_bytes()[:200])
    assert "none of 1 files" in _refusal(_run(folder, tmp_path / "out"))


def test_a_file_cut_short_in_its_pixels_ends_with_its_study_and_a_reason(tmp_path: Path) -> None:
    folder = _write(tmp_path / "in", [slice_of(_picture(64, 64), n) for n in range(1, 13)])
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes()[:-5000])
    (entry,) = _run(folder, tmp_path / "out")
    assert entry["outcome"] in ("not_eligible", "poor_quality")
    assert entry["series"][0]["reason"]["code"] == ReasonCode.UNREADABLE_PIXELS


def test_a_knee_is_not_eligible_and_its_series_say_why(tmp_path: Path) -> None:
    slices = [slice_of(_picture(64, 64), n, BodyPartExamined="KNEE") for n in range(1, 13)]
    (entry,) = _run(_write(tmp_path / "in", slices), tmp_path / "out")
    assert entry["outcome"] == "not_eligible"
    (series,) = entry["series"]
    assert not series["taken"]
    assert series["reason"]["code"] == ReasonCode.OTHER_BODY_PART
    assert "KNEE" in series["evidence"]


def test_a_head_ct_without_a_model_gets_a_page_that_can_be_opened(tmp_path: Path) -> None:
    (entry,) = _run(_write(tmp_path / "in", head_ct()), tmp_path / "out")
    assert entry["outcome"] == "not_eligible", entry["reasons"]
    assert [reason["code"] for reason in entry["reasons"]] == [ReasonCode.NO_MODEL]
    (page,) = entry["results"]
    assert (page["kind"], page["state"]) == ("page", "written")
    assert (tmp_path / "out" / page["path"]).read_bytes()[128:132] == b"DICM"
    assert (tmp_path / "out" / page["path"]).with_suffix(".png").read_bytes()[:4] == b"\x89PNG"


def test_each_study_has_a_summary_in_words(tmp_path: Path) -> None:
    (entry,) = _run(_write(tmp_path / "in", head_ct()), tmp_path / "out")
    words = (tmp_path / "out" / entry["study_instance_uid"] / "summary.txt").read_text()
    assert words.startswith("NOT ANALYSED")
    assert entry["reasons"][0]["text"] in words
    assert "Text by template" in words
    assert "RESEARCH USE ONLY - NOT FOR DIAGNOSIS" in words
    for sentence in entry["summary"]["sentences"]:
        assert sentence["text"] in " ".join(words.split())


def test_language_and_plain_version_are_those_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEUROTRIAGE__SUMMARY__LANGUAGE", "de")
    monkeypatch.setenv("NEUROTRIAGE__SUMMARY__PLAIN_LANGUAGE", "true")
    (entry,) = _run(_write(tmp_path / "in", head_ct()), tmp_path / "out")
    assert (entry["summary"]["language"], entry["summary"]["origin"]) == ("de", "template")
    assert entry["summary"]["plain"]
    assert "Text nach Vorlage" in (tmp_path / "out" / entry["study_instance_uid"] / "summary.txt").read_text()


def test_files_that_are_no_dicom_stand_in_the_result_of_each_study(tmp_path: Path) -> None:
    folder = _write(tmp_path / "in", head_ct()[:2])
    (folder / "lost").mkdir()
    (folder / "lost" / "28.dcm").write_bytes(bytes(400))
    (entry,) = _run(folder, tmp_path / "out")
    (named,) = entry["passed_over"]
    assert named["file"] == "lost/28.dcm"
    assert named["reason"]["code"] == ReasonCode.NOT_DICOM
    (summary,) = (tmp_path / "out").rglob("summary.txt")
    assert "Note: 1 file of the folder is no readable DICOM: lost/28.dcm (" in summary.read_text()


def test_two_studies_of_which_one_is_no_dicom_do_not_disturb_each_other(tmp_path: Path) -> None:
    knee = {"BodyPartExamined": "KNEE", "StudyInstanceUID": "2.25.101"}
    _write(tmp_path / "in" / "a", [slice_of(_picture(), 1, **knee)])
    _write(tmp_path / "in" / "b", [ct_slice_of(_picture(), 1, BodyPartExamined="FOOT")])
    (tmp_path / "in" / "b" / "notes.txt").write_text("notes")
    entries = _run(tmp_path / "in", tmp_path / "out")
    assert [entry["study_instance_uid"] for entry in entries] == ["2.25.100", "2.25.101"]


def test_a_folder_run_twice_gives_the_same_objects(tmp_path: Path) -> None:
    folder = _write(tmp_path / "in", [ct_slice_of(_picture(64, 64), n) for n in range(1, 13)])
    first, second = (_run(folder, tmp_path / out)[0]["results"] for out in ("one", "two"))
    assert [o["sop_instance_uid"] for o in first] == [o["sop_instance_uid"] for o in second]


def test_a_bug_ends_one_study_failed_with_its_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("neurotriage.cli.studies.folder_run.analyse", breaks)
    folder = _write(tmp_path / "in", [ct_slice_of(_picture(64, 64), n) for n in range(1, 13)])
    (entry,) = _run(folder, tmp_path / "out")
    assert entry["outcome"] == "failed"
    assert entry["reasons"] == [
        {"code": "internal_error", "text": "the analysis failed: ZeroDivisionError: a bug"}
    ]
    assert [o["kind"] for o in entry["results"]] == ["page"]


def test_the_models_are_loaded_once_for_all_studies_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    monkeypatch.setenv("NEUROTRIAGE__WORKER__WEIGHTS", str(write_weights(weights)))
    loaded = []

    def counting(card: ModelCard, *others: Any) -> Model:
        loaded.append(card.name)
        return network_model(card, *others)

    monkeypatch.setattr("worker.vision.models.network_model", counting)
    for uid in ("2.25.101", "2.25.102"):
        _write(tmp_path / "in" / uid, head_mr(StudyInstanceUID=uid))
    entries = _run(tmp_path / "in", tmp_path / "out")
    assert len(entries) == 2
    assert not any(entry["outcome"] == "failed" for entry in entries)
    assert loaded == ["random"]


def test_a_folder_that_does_not_exist_is_wrong_usage(tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["run", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")])
    assert answer.exit_code == 2
    assert not (tmp_path / "out").exists()


def _picture(rows: int = 16, columns: int = 16) -> NDArray[np.int16]:
    return np.random.default_rng(1).integers(0, 2000, (rows, columns)).astype(np.int16)


def test_run_makes_what_the_configured_destinations_get_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "neurotriage.toml"
    config.write_text(
        "".join(
            f'[[destination]]\nname = "{name}"\nae_title = "A"\nhost = "localhost"\nport = 1\n'
            f"objects = {kinds}\n"
            for name, kinds in (("one", ["pdf"]), ("two", ["page", "seg"]))
        )
    )
    monkeypatch.setenv(CONFIG_VARIABLE, str(config))
    folder = _write(tmp_path / "in", head_ct())
    answer = CliRunner().invoke(app, ["run", str(folder), "--out", str(tmp_path / "out")])
    (entry,) = json.loads((tmp_path / "out" / "result.json").read_text())
    assert [result["kind"] for result in entry["results"]] == ["page", "pdf"]
    assert {item["kind"] for item in entry["omissions"]} == {"seg"}
    assert "[page, pdf]" in answer.stdout
