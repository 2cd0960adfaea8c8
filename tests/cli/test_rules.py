"""``rules`` shows what a site's rules decide; ``run`` and ``why`` say so, and none of it is an error."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from sqlalchemy import Engine
from typer.testing import CliRunner, Result

from neurotriage.cli import app
from neurotriage.cli.studies import rules as command
from neurotriage.core.settings import CONFIG_VARIABLE, ConfigurationError
from neurotriage.dicom.manifest import scan_folder
from tests.core.made import part10
from tests.eligibility.rule import RULE
from tests.imaging.made import ct_slice_of, picture, slice_of
from tests.selection.site import rule, rules_of
from tests.worker.studies import head_ct, head_mr
from tests.worker.test_tasks import WorkerSite
from tests.worker.weights import hollow_weights
from worker.selection import choose
from worker.selection.ranking import MAX_SERIES
from worker.selection.site_rules import condition, pattern, rules

ROOT = Path(__file__).parents[2]
NO_CT = rule('fact = "modality", equals = "CT"', name="no CT")
KNEES = rule('tag = "BodyPartExamined", equals = "KNEE"', "take", name="knees")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hollow_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(autouse=True)
def _configured(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, "/dev/null")
    monkeypatch.setenv("NEUROTRIAGE__WORKER__WEIGHTS", str(weights))
    monkeypatch.setenv("NEUROTRIAGE__WORKER__THREADS", "1")
    monkeypatch.setenv("COLUMNS", "300")


@pytest.fixture
def site(
    engine: Engine, database_url: str, broker_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> WorkerSite:
    monkeypatch.setenv("NEUROTRIAGE__DATABASE__URL", database_url)
    monkeypatch.setenv("NEUROTRIAGE__STORAGE__ROOT", str(tmp_path / "storage"))
    return WorkerSite(engine, database_url, broker_url, tmp_path)


def _file(folder: Path, content: str, name: str = "rules.toml") -> str:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(content)
    return str(folder / name)


def _study(folder: Path, *series: list[Dataset]) -> str:
    folder.mkdir(parents=True)
    for place, slices in enumerate(series):
        for number, dataset in enumerate(slices):
            dataset.SeriesInstanceUID = f"2.25.{500 + place}"
            dataset.SOPInstanceUID = f"2.25.{500 + place}.{number}"
            (folder / f"{place}-{number}.dcm").write_bytes(part10(dataset))
    return str(folder)


def _small(make: Callable[..., Dataset] = slice_of, **attributes: Any) -> list[Dataset]:
    return [make(picture(seed=n), n, **attributes) for n in range(1, 13)]


def _say(*words: str, exit_code: int = 0) -> Result:
    answer = CliRunner().invoke(app, words)
    assert answer.exit_code == exit_code, answer.output
    return answer


def _rows(answer: Result) -> list[list[str]]:
    """The cells of the rows about series."""
    lines = [line for line in answer.stdout.splitlines() if line.strip().startswith("2.25.")]
    return [re.split(r"\s{2,}", line.strip()) for line in lines]


def test_a_right_file_is_listed_in_its_order(tmp_path: Path) -> None:
    told = _say("rules", "check", _file(tmp_path, NO_CT + KNEES)).stdout.splitlines()
    assert told[:2] == ["1 refuse no CT: not here", "2 take   knees"]
    assert told[2].startswith("2 rules, SHA-256 ")


@pytest.mark.parametrize("words", [("check",), ("test", "here")])
def test_a_wrong_file_is_wrong_configuration(tmp_path: Path, words: tuple[str, ...]) -> None:
    name, *rest = words
    answer = CliRunner().invoke(app, ["rules", name, _file(tmp_path, NO_CT + NO_CT), *rest])
    assert isinstance(answer.exception, ConfigurationError)
    assert "several rules have the name 'no CT'" in str(answer.exception)


def test_what_rules_decide_about_a_folder_is_told_series_by_series(tmp_path: Path) -> None:
    folder = _study(
        tmp_path / "in", _small(ct_slice_of), _small(BodyPartExamined="KNEE"), _small(Modality="PT"), _small()
    )
    answer = _say("rules", "test", _file(tmp_path, NO_CT + KNEES), folder)
    cells = [row[1:] for row in _rows(answer)]
    assert [(row[0], row[1], row[2]) for row in cells] == [
        ("CT (no description)", 'rule "no CT"', "refused_by_site: not here"),
        ("MR (no description)", 'rule "knees"', "taken"),
        ("PT (no description)", "built-in", "other_modality"),
        ("MR (no description)", "built-in", "taken"),
    ]
    assert [row[-2:] for row in cells[:2]] == [["taken", "yes"], ["other_body_part", "yes"]]
    assert [row[-1] for row in cells[2:]] == ["other_modality", "taken"]
    assert answer.stdout.splitlines()[-1] == "2 of 4 series would end otherwise"


def test_rules_are_compared_with_those_that_are_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEUROTRIAGE__SELECTION__RULES", _file(tmp_path, NO_CT, "now.toml"))
    folder = _study(tmp_path / "in", _small(ct_slice_of), _small(BodyPartExamined="KNEE"))
    answer = _say("rules", "test", _file(tmp_path, NO_CT + KNEES), folder)
    assert [row[-2:] for row in _rows(answer)] == [
        ["taken", "refused_by_site: not here"],
        ["other_body_part", "yes"],
    ]
    assert answer.stdout.splitlines()[-1] == "1 of 2 series would end otherwise"


def test_a_folder_or_study_or_a_number_of_studies_is_needed(tmp_path: Path) -> None:
    file = _file(tmp_path, NO_CT)
    for words in ((), ("1.2.3", "--last", "3"), ("--last", "1001"), ("--last", "-1")):
        _say("rules", "test", file, *words, exit_code=2)
    (tmp_path / "empty").mkdir()
    assert "holds no DICOM study" in _say("rules", "test", file, str(tmp_path / "empty"), exit_code=1).stderr


def test_received_studies_are_tried_with_their_sender_and_nothing_is_written(
    site: WorkerSite, tmp_path: Path
) -> None:
    site.receive(head_ct())
    site.receive(head_mr(StudyInstanceUID="2.25.101", SeriesInstanceUID="2.25.201"))
    tables = "select 1 from events union all select 2 from revisions union all select 3 from analyses"
    before = site.rows(tables)
    scanner = rule('all = [{ fact = "peer", equals = "SCANNER" }, { fact = "modality", equals = "CT" }]')
    file = _file(tmp_path / "rules", scanner)
    (one,) = _rows(_say("rules", "test", file, "2.25.100"))
    assert one[2:4] == ['rule "a rule"', "refused_by_site: not here"]
    answer = _say("rules", "test", file, "--last", "2")
    assert [row[0] for row in _rows(answer)] == ["2.25.100"]
    assert answer.stdout.splitlines()[-1] == "1 of 2 series would end otherwise"
    newest = _say("rules", "test", file, "--last", "1")
    assert newest.stdout.splitlines()[-1] == "0 of 1 series would end otherwise"
    assert site.rows(tables) == before
    assert "no such study" in _say("rules", "test", file, "2.25.999", exit_code=1).stderr


def test_a_study_to_which_images_still_come_is_passed_over(site: WorkerSite, tmp_path: Path) -> None:
    assert (
        "no study was received whole"
        in _say("rules", "test", _file(tmp_path / "rules", NO_CT), "--last", "5", exit_code=1).stderr
    )


def test_run_ends_a_study_that_the_site_refuses_without_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEUROTRIAGE__SELECTION__RULES", _file(tmp_path, NO_CT))
    folder = _study(tmp_path / "in", head_ct())
    answer = _say("run", folder, "--out", str(tmp_path / "out"))
    assert "not_eligible  not here" in answer.stdout
    assert "error" not in answer.stderr
    (entry,) = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (entry["outcome"], entry["triage"]) == ("not_eligible", "none")
    assert entry["reasons"] == [{"code": "refused_by_site", "text": "not here"}]
    (series,) = entry["series"]
    assert (series["taken"], series["rule"]) == (False, "no CT")
    assert series["evidence"] == 'rule "no CT": modality = CT'
    assert [result["kind"] for result in entry["results"]] == ["page"]


def test_without_a_rule_that_decides_nothing_of_a_result_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _study(tmp_path / "in", head_ct())
    results = []
    for out in ("without", "with"):
        _say("run", folder, "--out", str(tmp_path / out))
        (entry,) = json.loads((tmp_path / out / "result.json").read_text())
        assert "rule" not in entry["series"][0]
        results.append([(item["sop_instance_uid"], item["kind"]) for item in entry["results"]])
        monkeypatch.setenv("NEUROTRIAGE__SELECTION__RULES", _file(tmp_path, KNEES))
    assert results[0] == results[1]


def test_wrong_rules_stop_run_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROTRIAGE__SELECTION__RULES", str(tmp_path / "nowhere.toml"))
    answer = CliRunner().invoke(
        app, ["run", _study(tmp_path / "in", head_ct()), "--out", str(tmp_path / "out")]
    )
    assert isinstance(answer.exception, ConfigurationError)
    assert not (tmp_path / "out").exists()


def test_serve_does_not_start_with_wrong_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROTRIAGE__STORAGE__ROOT", str(tmp_path / "storage"))
    monkeypatch.setenv("NEUROTRIAGE__SELECTION__RULES", _file(tmp_path, NO_CT + NO_CT))
    answer = CliRunner().invoke(app, ["serve"])
    assert isinstance(answer.exception, ConfigurationError)
    assert not (tmp_path / "storage").exists()


def test_a_worker_refuses_by_rule_for_good_and_why_names_the_rule(site: WorkerSite) -> None:
    site.worker.rules = rules_of(rule('fact = "peer", equals = "SCANNER"', name="not from there"))
    site.worker.analyse(site.receive(head_ct()))
    assert site.rows("select state, attempt, last_error from revisions") == [("analysed", 1, None)]
    assert site.rows("select outcome, triage from analyses") == [("not_eligible", "none")]
    assert site.rows("select code, evidence from series_verdicts") == [
        ("refused_by_site", 'rule "not from there": peer = SCANNER')
    ]
    told = _say("why", "2.25.100").stdout
    assert 'not here [refused_by_site] rule "not from there": peer = SCANNER' in told
    assert "Last error" not in told
    (entry,) = json.loads(_say("results", "--format", "json").stdout)
    assert entry["series"][0]["rule"] == "not from there"


def test_the_documented_rules_decide_as_the_text_says(tmp_path: Path) -> None:
    example = (ROOT / "docs" / "rules.md").read_text().split("```toml")[1].split("```")[0]
    site = rules_of(example)
    assert [r.action for r in site.rules] == ["refuse", "refuse", "take", "prefer"]
    child, sharp, orbit, thin = (r.name for r in site.rules)
    ct = {"Modality": "CT", "ConvolutionKernel": "H60s"}
    cases: list[tuple[Callable[..., Dataset], dict[str, Any], str, bool]] = [
        (slice_of, {"PatientAge": "017Y"}, child, False),
        (slice_of, {"PatientAge": "018M"}, child, False),
        (slice_of, {"PatientAge": "018Y"}, "", True),
        (slice_of, {}, "", True),
        (ct_slice_of, ct, sharp, False),
        (ct_slice_of, {**ct, "ConvolutionKernel": "Hr68"}, sharp, False),
        (ct_slice_of, {**ct, "ConvolutionKernel": "boneplus"}, sharp, False),
        (ct_slice_of, {**ct, "ConvolutionKernel": "H31s"}, "", True),
        (slice_of, {"ConvolutionKernel": "H60s"}, "", True),
        (slice_of, {"BodyPartExamined": "ORBIT", "ProtocolName": "Orbita + Brain"}, orbit, True),
        (slice_of, {"BodyPartExamined": "ORBIT", "ProtocolName": "Orbita"}, "", False),
    ]
    for number, (make, attributes, name, taken) in enumerate(cases):
        (study,) = scan_folder(Path(_study(tmp_path / str(number), _small(make, **attributes)))).studies
        (verdict,) = choose(study, RULE, site, "MR3").verdicts
        assert (verdict.rule, verdict.taken) == (name, taken), attributes
    slices = [slice_of(picture(seed=n), n, SliceThickness=1.0) for n in range(1, 101)]
    (study,) = scan_folder(Path(_study(tmp_path / "thin", slices))).studies
    assert choose(study, RULE, site).verdicts[0].rule == thin
    (study,) = scan_folder(Path(_study(tmp_path / "fewer", slices[:99]))).studies
    assert choose(study, RULE, site).verdicts[0].rule == ""


def test_what_the_documents_call_bounds_are_the_bounds() -> None:
    words = " ".join((ROOT / "docs" / "rules.md").read_text().split())
    assert f"nested at most {condition.MAX_DEPTH} deep" in words
    assert f"at most {rules.MAX_RULES} rules and {rules.MAX_BYTES // 1024} KiB" in words
    assert f"at most {pattern.MAX_LENGTH} characters" in words
    assert MAX_SERIES == 4
    assert "are analysed (four)" in words
    assert f"at most {command.MAX_LAST}" in (ROOT / "docs" / "command-line.md").read_text()


def test_what_is_refused_after_a_rule_took_it_is_not_said_to_be_decided_by_the_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = rule('fact = "modality", equals = "CT"', "take")
    monkeypatch.setenv("NEUROTRIAGE__SELECTION__RULES", _file(tmp_path, taken))
    _say("run", _study(tmp_path / "in", head_ct()), "--out", str(tmp_path / "out"))
    (entry,) = json.loads((tmp_path / "out" / "result.json").read_text())
    (series,) = entry["series"]
    assert (series["reason"]["code"], series["evidence"]) == ("no_model", "the pixels")
    assert "rule" not in series
