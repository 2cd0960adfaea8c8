"""What the demo prints and writes of results, read as a person reads it."""

import io
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread
from rich.console import Console

from db.queries import StudyHistory
from neurotriage.core.summary_text import summary_lines
from neurotriage.core.values import Analysis, Outcome, ResultKind
from neurotriage.demo import present
from neurotriage.demo.report_text import report_lines
from neurotriage.demo.studies import SampleStudy
from neurotriage.phantom import INSTALLATION, Made, make_analysis, make_study
from tests.results.told import told
from worker.results import build

RECEIVED = datetime(2026, 11, 29, 14, 5, 0, tzinfo=UTC)
UID = "1.2.826.0.1.3680043.8.498.12345678"
ROW: dict[str, Any] = {
    "study_instance_uid": UID,
    "state": "quiet",
    "outcome": "present",
    "triage": "urgent",
    "reasons": "tumour probability above the threshold",
    "tumour_probability": 0.9731,
    "findings": 9,
    "deliveries": 12,
    "deliveries_stored": 11,
    "received_at": RECEIVED,
    "ready_at": RECEIVED + timedelta(seconds=2.5),
    "analysed_at": RECEIVED + timedelta(seconds=9),
    "stored_at": None,
}
VERDICTS = [
    {"taken": True, "modality": "MR", "description": "AX FLAIR", "series_instance_uid": "1.1", "reason": "a"},
    {"taken": False, "modality": "MR", "description": "", "series_instance_uid": "1.2", "reason": "scout"},
]


def history(analysis: Analysis | None = None, **row: object) -> StudyHistory:
    return StudyHistory(
        row={**ROW, **row},
        analysis=analysis,
        series=(),
        verdicts=VERDICTS,
        objects=(),
        deliveries=(),
        events=(),
        last_error=None,
    )


def text_of(*shown: object) -> str:
    console = Console(file=io.StringIO(), width=160)
    for item in shown:
        console.print(item)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def line_with(text: str, words: str) -> str:
    (line,) = (line for line in text.splitlines() if words in line)
    return line


def test_outcome_reasons_and_verdicts_of_all_series_are_shown() -> None:
    text = text_of(present.outcome_table(history()))
    assert "present  (triage urgent)" in line_with(text, "outcome")
    assert ROW["reasons"] in line_with(text, "why")
    assert "MR AX FLAIR: a" in line_with(text, "series taken")
    assert "MR 1.2: scout" in line_with(text, "series refused"), "a series without a description has its UID"


def test_each_hop_has_its_time_and_its_distance_from_the_first() -> None:
    text = text_of(present.outcome_table(history()))
    assert "14:05:00  (+0.0 s)" in line_with(text, "received")
    assert "14:05:02  (+2.5 s)" in line_with(text, "ready")
    assert "14:05:09  (+9.0 s)" in line_with(text, "analysed")
    assert "stored" not in text, "a hop that has not happened has no line"


def test_a_row_of_the_database_shows_probability_and_deliveries() -> None:
    text = text_of(present.database_table([ROW, {**ROW, "tumour_probability": None, "outcome": "failed"}]))
    first, second = (line for line in text.splitlines() if "...12345678" in line)
    assert "0.973" in first
    assert "11 of 12" in first
    assert "0." not in second


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (None, "on its way"),
        ({"outcome": None, "state": "open", "instances": 12}, "open (12 instances)"),
        ({"outcome": None, "state": "analysing"}, "analysing"),
        ({}, "present, 11 of 12 objects stored"),
    ],
)
def test_progress_is_told_from_the_first_image_to_the_last_object(
    row: dict[str, object] | None, words: str
) -> None:
    assert present.progress(None if row is None else {**ROW, **row}) == words


def sample(boxes: dict[str, tuple[int, int, int, int]]) -> SampleStudy:
    return SampleStudy("sample", "MR", (), boxes, {}, (0.0, 0.0, 0.0) if boxes else None, UID)


@cache
def analysed() -> tuple[Analysis, tuple[Dataset, ...]]:
    """The analysis of a drawn study, and its results as an archive holds them; once for all tests."""
    with tempfile.TemporaryDirectory() as folder:
        made = make_study(Path(folder))
        return _results(made)


def _results(made: Made) -> tuple[Analysis, tuple[Dataset, ...]]:
    analysis, evidence = make_analysis(made, Outcome.PRESENT)
    kinds = frozenset({ResultKind.PAGE, ResultKind.OVERLAY, ResultKind.REPORT})
    built = build(analysis, evidence, made.manifest, INSTALLATION, kinds=kinds)
    return analysis, tuple(dcmread(io.BytesIO(item.data)) for item in built.objects)


def found(*boxes: tuple[str, tuple[int, int, int, int]]) -> StudyHistory:
    analysis, _ = analysed()
    findings = tuple(replace(analysis.findings[0], sop_instance_uid=uid, box=box) for uid, box in boxes)
    return history(replace(analysis, findings=findings))


def test_findings_on_the_lesion_are_counted_with_the_slices_that_have_one() -> None:
    lesion = sample({"1": (10, 10, 30, 30), "2": (10, 10, 30, 30), "3": (10, 10, 30, 30)})
    known = found(
        ("1", (12, 12, 28, 28)), ("2", (8, 8, 20, 20)), ("2", (40, 40, 60, 60)), ("9", (12, 12, 20, 20))
    )
    assert present.truth(lesion, known) == (
        "  truth: 2 of 4 finding boxes lie on the lesion that was put in; 2 of its 3 slices have one"
    )


def test_a_finding_in_the_oedema_counts_as_on_the_lesion() -> None:
    lesion = replace(sample({"1": (20, 20, 30, 30)}), abnormality_box_by_sop={"1": (0, 0, 50, 50)})
    assert "1 of 1 finding boxes" in present.truth(lesion, found(("1", (2, 2, 10, 10))))


def test_a_lesion_without_a_finding_is_said_and_so_is_a_study_without_a_lesion() -> None:
    lesion = sample({"1": (10, 10, 30, 30)})
    missed = "  a lesion was put into 1 slices of this study; the analysis made no finding"
    assert present.truth(lesion, found()) == missed
    assert present.truth(lesion, history(None)) == missed
    assert present.truth(sample({}), found(("1", (1, 1, 2, 2)))) == "  no lesion was put into this study"


def test_the_text_is_shown_whole_with_its_origin() -> None:
    console = Console(file=io.StringIO(), width=300)
    present.print_text(told(), console)
    present.print_text(None, console)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue().splitlines()
    assert shown == [f"  {line}" for line in summary_lines(told())]
    assert shown[-1] == "  (Text by template)"


def test_pictures_are_written_as_they_are_and_the_report_as_text(tmp_path: Path) -> None:
    _, objects = analysed()
    pictures = [d for d in objects if d.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"]
    console = Console(file=io.StringIO(), width=300)
    present.write_results(objects, tmp_path / "new" / "folder", console)
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    written = sorted(tmp_path.rglob("*.png"))
    assert len(written) == len(pictures) > 2
    assert f"pictures: {len(pictures)} as PNG in" in printed
    page = next(d for d in pictures if d.SeriesNumber == 9901)
    with Image.open(tmp_path / "new" / "folder" / "9901-001.png") as image:
        np.testing.assert_array_equal(np.asarray(image), page.pixel_array)
    report = (tmp_path / "new" / "folder" / "report.txt").read_text().splitlines()
    assert f"... {len(report) - 24} more lines in" in printed
    assert all(line.strip() in printed for line in report[:24])
    assert report[-1].strip() not in printed


def _items(item: Dataset) -> int:
    return 1 + sum(_items(child) for child in item.get("ContentSequence") or ())


def test_a_report_has_a_line_per_content_item_indented_by_depth() -> None:
    report = next(d for d in analysed()[1] if d.Modality == "SR")
    lines = list(report_lines(report))
    assert len(lines) == _items(report)
    assert lines[0] == "Imaging Measurement Report"
    assert all(line.startswith("  ") for line in lines[1:])


@pytest.mark.parametrize(
    "words",
    [
        "Finding: Neoplasm",  # CODE
        "Tracking Identifier: Lesion 1, slice ",  # TEXT
        "Tracking Unique Identifier: 2.25.",  # UIDREF
        " mm",  # NUM
        "Image Region: POLYLINE of ",  # SCOORD
        "Source: image 2.25.",  # IMAGE
    ],
)
def test_a_report_shows_what_its_items_say(words: str) -> None:
    report = next(d for d in analysed()[1] if d.Modality == "SR")
    assert any(words in line for line in report_lines(report)), "\n".join(report_lines(report))
