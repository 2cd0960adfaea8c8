"""The summary page is legible, complete, and names nobody."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread

from neurotriage.core.evidence import Evidence
from neurotriage.core.values import (
    Analysis,
    Outcome,
    Reason,
    ReasonCode,
    ResultKind,
    ResultObject,
    SeriesVerdict,
    Side,
    Triage,
)
from neurotriage.phantom import (
    INSTALLATION,
    Made,
    make_analysis,
    make_study,
)
from worker.results import build, picture_of
from worker.results.pictures import page


def words_of(written: Any) -> str:
    return " | ".join(line for line, _, _ in written)


@pytest.mark.parametrize("outcome", Outcome)
def test_the_page_is_legible_and_nothing_leaves_it(outcome: Outcome, tmp_path: Path, written: Any) -> None:
    made = make_study(tmp_path, slices=9, header={"SeriesDescription": "long words " * 5})
    many = tuple(
        SeriesVerdict(
            f"1.2.{n}", "MR", "description " * 8, False, Reason(ReasonCode.LOCALIZER, "reason " * 60)
        )
        for n in range(200)
    )
    reasons = (Reason(ReasonCode.NO_SAFE_ANSWER, "a very long reason indeed " * 40),)
    analysis, evidence = make_analysis(made, outcome, verdicts=many, reasons=reasons)
    (result,) = build(analysis, evidence, made.manifest, INSTALLATION, kinds={ResultKind.PAGE}).objects
    picture = picture_of(result)
    assert picture is not None
    assert Image.open(io.BytesIO(picture)).size == (page.WIDTH_PX, page.HEIGHT_PX)
    headline = max(written, key=lambda line: line[1])
    assert headline[1] * 128 / page.WIDTH_PX >= 10  # pixels high in a thumbnail 128 pixels wide
    assert min(size for line, size, _ in written) >= 18
    for words, _, (left, top, right, bottom) in written:
        assert left >= 0, words
        assert top >= 0, words
        assert right <= page.WIDTH_PX, words
        assert bottom <= page.HEIGHT_PX, words
    assert "RESEARCH USE ONLY - NOT FOR DIAGNOSIS" in {words for words, _, _ in written}


def test_the_page_of_a_finding_says_what_where_and_how_sure(mr: Made, written: Any) -> None:
    analysis, evidence = make_analysis(mr, Outcome.PRESENT)
    build(analysis, evidence, mr.manifest, INSTALLATION, kinds={ResultKind.PAGE})
    words = words_of(written)
    for phrase in (
        "TUMOUR SUSPECTED", "97 %", "threshold 50 %", "on the left", "mm across",
        "efficientnet-lite0-mr 1.0.0", "model relevance, not tumour extent", "AX FLAIR",
        "Series 3", "slice 10 of 15 (image 10)", "Urgent", "0 %", "100 %", "clear below 25 %",
        "20 Nov 2026, 10:30 +01:00",
    ):  # fmt: skip
        assert phrase in words


def test_the_page_of_a_refused_study_lists_its_series_with_reasons(tmp_path: Path, written: Any) -> None:
    made = make_study(tmp_path, slices=3)
    analysis, evidence = make_analysis(made, Outcome.NOT_ELIGIBLE)
    build(analysis, evidence, made.manifest, INSTALLATION)
    words = [line for line, _, _ in written]
    assert "NOT ANALYSED" in words
    assert "Refused: a localizer, three planes" in words
    assert "3-PLANE LOC" in words


def test_pictures_do_not_depend_on_who_the_patient_is(tmp_path: Path) -> None:
    pictures = []
    for name, identity in (("Doe^Jane", "PAT-4711"), ("山田^太郎", "77")):
        header = {"PatientName": name, "PatientID": identity, "AccessionNumber": identity}
        made = make_study(tmp_path / identity, slices=9, header=header)
        for outcome in Outcome:
            analysis, evidence = make_analysis(made, outcome)
            results = build(analysis, evidence, made.manifest, INSTALLATION).objects
            pictures.append([picture_of(result) for result in results])
    half = len(pictures) // 2
    assert pictures[:half] == pictures[half:]


def page_of(analysis: Analysis, evidence: Evidence, made: Made) -> NDArray[np.uint8]:
    (result,) = build(analysis, evidence, made.manifest, INSTALLATION, kinds={ResultKind.PAGE}).objects
    return pixels_of(result)


def pixels_of(result: ResultObject) -> NDArray[np.uint8]:
    return np.asarray(dcmread(io.BytesIO(result.data)).pixel_array)


def with_more_lesions(made: Made, count: int) -> tuple[Analysis, Evidence]:
    """The lesion again as others, each smaller than the one before and largest on another slice."""
    analysis, evidence = make_analysis(made, Outcome.PRESENT)
    sizes = [finding.size_mm for finding in analysis.findings]
    others = tuple(
        replace(
            finding, lesion=number, side=Side.RIGHT, size_mm=sizes[(place + number) % len(sizes)] / number
        )
        for number in range(2, count + 1)
        for place, finding in enumerate(analysis.findings)
    )
    return replace(analysis, findings=(*analysis.findings, *others)), evidence


def test_two_lesions_are_both_on_the_page_with_number_side_size_and_slice(mr: Made, written: Any) -> None:
    shown = page_of(*with_more_lesions(mr, 2), mr)
    for words in (
        "2 suspected lesions", "on the left, 31 mm across", "16 mm across",
        "Lesion 1: left, 31 mm", "Lesion 2: right, 16 mm", "slice 10 of 15", "slice 8 of 15", "2 outlined",
    ):  # fmt: skip
        assert words in words_of(written)
    for left in (page.MARGIN_PX, page.WIDTH_PX // 2 + 12):
        assert np.ptp(shown[280:680, left + 60 : left + 440].astype(int), axis=2).max() > 80


def test_of_many_lesions_three_are_shown_and_the_others_counted(mr: Made, written: Any) -> None:
    page_of(*with_more_lesions(mr, 5), mr)
    assert "5 suspected lesions" in words_of(written)
    assert "and 2 more" in words_of(written)
    assert [line for line, _, _ in written if line.startswith("Lesion ")] == [
        "Lesion 1: left, 31 mm", "Lesion 2: right, 16 mm", "Lesion 3: right, 10 mm",
    ]  # fmt: skip


def test_lesions_that_are_largest_on_one_slice_share_its_picture(mr: Made, written: Any) -> None:
    analysis, evidence = make_analysis(mr, Outcome.PRESENT)
    other = tuple(replace(f, lesion=2, size_mm=f.size_mm / 2) for f in analysis.findings)
    page_of(replace(analysis, findings=(*analysis.findings, *other)), evidence, mr)
    lines = [line for line, _, _ in written]
    assert "Lesion 1: left, 31 mm; lesion 2: left, 16 mm" in lines
    assert "The same slice without marks" in lines
    assert {"1", "2"} <= set(lines)  # beside the outlines


def without_marks(evidence: Evidence) -> Evidence:
    """As vision keeps the slice that decided where its score is below the lower threshold."""
    kept = (replace(item, heat=0 * item.heat, mask=np.zeros_like(item.mask)) for item in evidence.slices)
    return replace(evidence, slices=tuple(kept))


def test_a_study_in_doubt_without_a_suspicious_slice_has_no_mark_anywhere(mr: Made, written: Any) -> None:
    analysis, evidence = make_analysis(mr, Outcome.UNDETERMINED)
    kinds = {
        ResultKind.OVERLAY,
        ResultKind.OVERLAY_FRAMES,
        ResultKind.PARAMETRIC_MAP,
        ResultKind.SEGMENTATION,
    }
    results = build(analysis, without_marks(evidence), mr.manifest, INSTALLATION, kinds=kinds)
    assert not results.objects
    assert {item.kind for item in results.omissions} == kinds
    shown = page_of(analysis, without_marks(evidence), mr)
    for left in (page.MARGIN_PX, page.WIDTH_PX // 2 + 12):
        assert np.ptp(shown[240:680, left + 50 : left + 500].astype(int), axis=2).max() <= 12
    assert "model relevance" not in words_of(written)
    assert "slice 10 of 15" in words_of(written)  # which decided


def test_a_page_says_what_else_may_be_wrong_where_that_decides(mr: Made, written: Any) -> None:
    analysis, evidence = make_analysis(mr, Outcome.UNDETERMINED)
    probabilities = {"tumour": 0.12, "look_alike": 0.836}
    suspicious = replace(
        analysis,
        triage=Triage.URGENT,
        reasons=(Reason(ReasonCode.LOOK_ALIKE, "something looks wrong"),),
        predictions=tuple(replace(p, probabilities=probabilities) for p in analysis.predictions),
    )
    page_of(suspicious, evidence, mr)
    lines = [line for line, _, _ in written]
    assert lines[lines.index("Bleed, infarct or clip") + 1] == "84 %"
    written.clear()
    page_of(replace(suspicious, reasons=analysis.reasons), evidence, mr)
    assert "Bleed, infarct or clip" not in words_of(written)


def test_the_page_shows_a_marked_slice_beside_the_deciding_one_that_has_no_mark(
    mr: Made, written: Any
) -> None:
    analysis, evidence = make_analysis(mr, Outcome.UNDETERMINED)
    assert evidence.key is not None
    bare = evidence.slices[evidence.key]
    bare = replace(bare, heat=0 * bare.heat)
    alike = Reason(ReasonCode.LOOK_ALIKE, "something looks wrong")
    slices = tuple(bare if item.slice_index == bare.slice_index else item for item in evidence.slices)
    shown = page_of(replace(analysis, reasons=(alike,)), replace(evidence, slices=slices), mr)
    words = words_of(written)
    assert "Highest for bleed, infarct or clip" in words
    assert "slice 10 of 15" in words
    assert "Tumour 51 %, no outline" in words
    assert "model relevance, not tumour extent" in words
    left, right = (
        np.ptp(shown[280:680, x + 60 : x + 440].astype(int), axis=2).max()
        for x in (page.MARGIN_PX, page.WIDTH_PX // 2 + 12)
    )
    assert left <= 12
    assert right > 40


@pytest.mark.parametrize("note", ["", "a note of many words " * 12])
def test_the_page_tells_each_slice_in_full(note: str, mr: Made, written: Any) -> None:
    analysis, evidence = make_analysis(mr, Outcome.UNDETERMINED, degradations=(note,) if note else ())
    alone = tuple(replace(item, probability=0.92) for item in evidence.slices)
    page_of(analysis, replace(evidence, slices=alone), mr)
    lines = [line for line, _, _ in written]
    assert "51 % with neighbours, 92 % alone, no outline" in lines
    assert sum("slice 10 of 15 (image 10)" in line for line in lines) == 2
    assert sum("MR · Series 3 · AX FLAIR" in line for line in lines) == 2


def test_slices_all_along_are_counted_by_their_series_or_stack(mr: Made, written: Any) -> None:
    analysis, evidence = make_analysis(mr, Outcome.ABSENT)
    page_of(analysis, evidence, mr)
    assert "9 of the 15 analysed slices of this series" in words_of(written)
    written.clear()
    (own,) = analysis.series
    page_of(replace(analysis, series=(own, replace(own, stack=2, slices=()))), evidence, mr)
    assert "9 of the 15 analysed slices of this stack" in words_of(written)


def test_the_page_of_few_series_tells_their_reasons_in_full(tmp_path: Path, written: Any) -> None:
    made = make_study(tmp_path, slices=3)
    reason = "twenty-nine of thirty images lie at one and the same place " * 3
    verdicts = (SeriesVerdict("1.2.3", "CT", "HEAD", False, Reason(ReasonCode.TOO_FEW_SLICES, reason)),)
    analysis, evidence = make_analysis(made, Outcome.POOR_QUALITY, verdicts=verdicts)
    page_of(analysis, evidence, made)
    lines = [line for line, _, _ in written]
    start = next(place for place, line in enumerate(lines) if line.startswith("Refused: twenty"))
    assert " ".join(lines[start : start + 4]).count("place") == 3
    assert not any(line.endswith("…") for line in lines)


def test_the_page_says_what_was_not_looked_at_and_names_the_series(mr: Made, written: Any) -> None:
    note = f"9 images of series {mr.series_instance_uid} were left out: another tilt"
    analysis, evidence = make_analysis(mr, Outcome.ABSENT, degradations=(note,))
    page_of(analysis, evidence, mr)
    assert "Note: 9 images of the MR series AX FLAIR were left out: another tilt." in words_of(written)
