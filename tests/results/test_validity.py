"""Validators find nothing wrong with any object, and what they find makes ``make validate`` fail."""

import subprocess
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from pydicom import dcmread

from bench import validate
from bench.validate import EVERYTHING_OF, FUSION, Validation, ValidationCase, cases_of, check, check_reports
from bench.validators import Absent, dciodvfy
from neurotriage.core.values import Outcome, ResultKind
from neurotriage.phantom import INSTALLATION, STUDIES, Made, make_analysis
from tests.conftest import absent
from worker.results import build


def _errors(checked: list[Validation]) -> list[tuple[str, str, Outcome, tuple[str, ...]]]:
    return [(v.object, v.case.study, v.case.outcome, v.errors) for v in checked if v.errors]


@pytest.mark.parametrize("name", [*STUDIES, FUSION])
def test_dicom3tools_find_no_error_on_any_object_of_any_outcome(name: str, tmp_path: Path) -> None:
    try:
        checked = [validation for case in cases_of(name, tmp_path) for validation in check(case)]
    except Absent as missing:
        absent("dicom3tools", str(missing))
    assert {validation.object for validation in checked} >= {"page", "overlay", "report", "ko", "gsps", "pdf"}
    assert _errors(checked) == []


def test_pixelmed_finds_no_error_on_reports_and_key_objects_of_one_series_and_of_a_pair(
    tmp_path: Path,
) -> None:
    studies = (EVERYTHING_OF, FUSION)
    cases = [case for study in studies for case in cases_of(study, tmp_path / study)]
    try:
        checked = list(check_reports(cases))
    except Absent as missing:
        absent("pixelmed", str(missing))
    validated = {(validation.case.study, validation.object) for validation in checked}
    assert validated == set(product(studies, ("report", "ko")))
    assert _errors(checked) == []


def test_an_object_that_is_not_valid_makes_the_command_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def spoilt(study: str, folder: Path) -> Iterator[ValidationCase]:
        case = next(cases_of(study, folder))
        dataset = dcmread(case.objects[0][1])
        del dataset.ConversionType
        dataset.save_as(case.objects[0][1])
        if not dciodvfy(case.objects[0][1]):
            pytest.fail("dciodvfy does not miss a type 1 attribute")
        yield case

    monkeypatch.setattr(validate, "STUDIES", {"mr_axial": {}})
    monkeypatch.setattr(validate, "cases_of", spoilt)
    monkeypatch.setattr(validate, "REPORTS_OF", ())
    monkeypatch.setattr(validate, "pixelmed", lambda _: {})
    assert validate.main([]) == 1
    assert "ConversionType" in capsys.readouterr().out


def test_a_report_reads_like_a_report_in_programs_that_know_no_template(
    mr: Made, dcmtk: None, tmp_path: Path
) -> None:
    analysis, evidence = make_analysis(mr, Outcome.PRESENT)
    kinds = {ResultKind.REPORT}
    (report,) = build(analysis, evidence, mr.manifest, INSTALLATION, kinds=kinds).objects
    file, page = tmp_path / "report.dcm", tmp_path / "report.html"
    file.write_bytes(report.data)
    tree = subprocess.run(["dsrdump", "+U8", file], capture_output=True, text=True, check=True).stdout
    subprocess.run(["dsr2html", "+U8", file, page], capture_output=True, check=True)
    html = page.read_text(encoding="utf-8")
    for words in ("Imaging Measurement Report", "Probability", "Long axis", "TUMOUR SUSPECTED"):
        assert words in tree
        assert words in html
