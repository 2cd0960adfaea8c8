"""Key objects, presentation states and the one-page document."""

import io
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from reportlab.pdfgen.canvas import Canvas

from neurotriage.core.values import Outcome, ResultKind, ResultObject
from neurotriage.phantom import (
    CORONAL,
    INSTALLATION,
    Made,
    make_analysis,
    make_fused_analysis,
    make_pair,
    make_study,
)
from worker.results import build
from worker.results.pictures import pdf_sheet

KO, STATE, PDF = ResultKind.KEY_OBJECTS, ResultKind.PRESENTATION_STATE, ResultKind.DOCUMENT


def objects_of(
    made: Made,
    kinds: set[ResultKind],
    outcome: Outcome = Outcome.PRESENT,
    named: frozenset[ResultKind] = frozenset(ResultKind),
) -> list[ResultObject]:
    analysis, evidence = make_analysis(made, outcome)
    return list(build(analysis, evidence, made.manifest, INSTALLATION, kinds=kinds, named=named).objects)


def read(result: ResultObject) -> Dataset:
    return dcmread(io.BytesIO(result.data))


def named(selection: Dataset) -> list[tuple[str, int | None]]:
    """SOP Instance UID and frame of what key objects name."""
    references = [
        item.ReferencedSOPSequence[0]
        for item in selection.ContentSequence
        if item.ValueType in ("IMAGE", "COMPOSITE")
    ]
    return [(str(r.ReferencedSOPInstanceUID), r.get("ReferencedFrameNumber")) for r in references]


@pytest.mark.parametrize("study", [{}, {"enhanced": True, "orientation": CORONAL}])
def test_key_objects_are_the_slices_with_findings_and_what_was_made_of_them(
    study: dict[str, Any], tmp_path: Path
) -> None:
    made = make_study(tmp_path, slices=9, **study)
    analysis, _ = make_analysis(made, Outcome.PRESENT)
    *others, selection = objects_of(made, {ResultKind.OVERLAY, ResultKind.REPORT, KO})
    slices = [(finding.sop_instance_uid, finding.frame) for finding in analysis.findings]
    assert named(read(selection)) == [*slices, *((r.sop_instance_uid, None) for r in others)]
    evidence = {
        (series.SeriesInstanceUID, item.ReferencedSOPInstanceUID)
        for series in read(selection).CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert evidence == {(made.series_instance_uid, uid) for uid, _ in slices} | {
        (r.series_instance_uid, r.sop_instance_uid) for r in others
    }


def test_key_objects_name_only_what_those_who_get_them_have(mr: Made) -> None:
    kinds = {ResultKind.PAGE, ResultKind.REPORT, KO}
    page, report, selection = objects_of(mr, kinds, named=frozenset({ResultKind.REPORT, KO}))
    (study,) = read(selection).CurrentRequestedProcedureEvidenceSequence
    named = {series.SeriesInstanceUID for series in study.ReferencedSeriesSequence}
    assert report.series_instance_uid in named
    assert page.series_instance_uid not in named


def test_key_objects_that_name_other_objects_are_other_key_objects(mr: Made) -> None:
    (alone,) = objects_of(mr, {KO})
    *_, beside = objects_of(mr, {ResultKind.PAGE, KO})
    assert alone.sop_instance_uid != beside.sop_instance_uid


@pytest.mark.parametrize("study", [{}, {"modality": "CT"}, {"enhanced": True, "orientation": CORONAL}])
def test_a_presentation_state_draws_each_finding_on_its_image_and_nothing_else(
    study: dict[str, Any], tmp_path: Path
) -> None:
    made = make_study(tmp_path, slices=9, **study)
    analysis, _ = make_analysis(made, Outcome.PRESENT)
    (state,) = map(read, objects_of(made, {STATE}))
    drawn = {}
    for annotation in state.GraphicAnnotationSequence:
        (image,) = annotation.ReferencedImageSequence
        (graphic,) = annotation.GraphicObjectSequence
        line = np.array(graphic.GraphicData).reshape(-1, 2)
        assert (line[0] == line[-1]).all()
        words = [item.UnformattedTextValue for item in annotation.TextObjectSequence]
        assert words == ["RESEARCH USE ONLY - NOT FOR DIAGNOSIS", "AI: lesion 1, 97 %"]
        key = (image.ReferencedSOPInstanceUID, image.get("ReferencedFrameNumber"))
        drawn[key] = (*line.min(axis=0), *line.max(axis=0))
    assert drawn == {(f.sop_instance_uid, f.frame): f.box for f in analysis.findings}
    if made.modality == "CT":
        window = state.SoftcopyVOILUTSequence[0]
        assert (state.RescaleIntercept, window.WindowCenter, window.WindowWidth) == (-1024, 40, 80)


def pdf_of(made: Made, outcome: Outcome) -> bytes:
    (result,) = objects_of(made, {PDF}, outcome)
    dataset = read(result)
    assert dataset.BurnedInAnnotation == "NO"
    return bytes(dataset.EncapsulatedDocument[: dataset.EncapsulatedDocumentLength])


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float, float]]:
    """What is written on a document: the words, their right edge and their baseline, in points."""
    lines: list[tuple[str, float, float]] = []
    draw = Canvas.drawString

    def spy(canvas: Canvas, x: float, y: float, words: str, *rest: Any, **more: Any) -> None:
        right = x + canvas.stringWidth(words, canvas._fontname, canvas._fontsize)
        lines.append((words, right, y))
        draw(canvas, x, y, words, *rest, **more)

    monkeypatch.setattr(Canvas, "drawString", spy)
    return lines


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_has_one_page_that_says_it_and_its_limits(
    outcome: Outcome, mr: Made, written: list[tuple[str, float, float]]
) -> None:
    data = pdf_of(mr, outcome)
    assert data.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type\s*/Page\b", data)) == 1
    words = " ".join(line for line, _, _ in written)
    assert pdf_sheet.text.verdict(outcome).headline in words
    assert "not a medical device" in words
    assert "The radiologist's report decides." in words
    assert ("Probability of tumour" in words) == outcome.analysed
    assert max(right for _, right, _ in written) <= pdf_sheet.WIDTH_PT - pdf_sheet.MARGIN_PT + 1
    body = [y for _, _, y in written if y > pdf_sheet.FOOTER_PT]
    assert min(body) > pdf_sheet.FOOTER_PT + 20


def test_a_document_has_the_pictures_with_their_captions(
    mr: Made, written: list[tuple[str, float, float]]
) -> None:
    data = pdf_of(mr, Outcome.PRESENT)
    assert data.count(b"/Subtype /Image") == 3  # the slice, the slice with its marks, the colour bar
    words = " ".join(line for line, _, _ in written)
    for phrase in ("slice 10 of 15", "model relevance, not tumour extent", "left,", "MR, no CT", "Urgent"):
        assert phrase in words


def test_a_document_with_colours_says_that_they_are_lost_in_grey(
    mr: Made, written: list[tuple[str, float, float]]
) -> None:
    for outcome, coloured in ((Outcome.PRESENT, True), (Outcome.UNDETERMINED, True), (Outcome.ABSENT, False)):
        written.clear()
        pdf_of(mr, outcome)
        assert any("print in grey" in line for line, _, _ in written) == coloured


def test_the_document_names_nobody_in_any_script(tmp_path: Path) -> None:
    documents = []
    for name, charset in (
        ("Doe^Jane", "ISO_IR 6"), ("Müller^Jörg", "ISO_IR 100"), ("قباني^لنزار", "ISO_IR 127"),
        ("Yamada^Tarou=山田^太郎", ["", "ISO 2022 IR 87"]), ("Hong^Gildong=洪^吉洞", ["", "ISO 2022 IR 149"]),
    ):  # fmt: skip
        header = {
            "SpecificCharacterSet": charset,
            "PatientName": name,
            "StudyInstanceUID": "2.25.1",
            "SeriesInstanceUID": "2.25.2",
            "FrameOfReferenceUID": "2.25.3",
        }
        made = make_study(tmp_path / str(len(documents)), slices=9, shape=(64, 64), header=header)
        documents.append(pdf_of(made, Outcome.PRESENT))
    assert len(set(documents)) == 1


def test_a_pair_is_shown_together_on_the_page_and_in_the_document(
    tmp_path: Path, written: list[tuple[str, float, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from worker.results.pictures import page, typeface

    lines: list[str] = []

    def spy(draw: Any, place: Any, line: str, *rest: Any, **more: Any) -> None:
        lines.append(line)
        if len(rest) == 2:  # without an anchor: from its place to the right
            assert place[0] + rest[0].getlength(line) <= page.WIDTH_PX - page.MARGIN_PX, line
        typeface.write(draw, place, line, *rest, **more)

    monkeypatch.setattr(page, "write", spy)
    ct, mr = make_pair(tmp_path, slices=9, shape=(96, 96))
    analysis, evidence = make_fused_analysis(ct, mr, Outcome.PRESENT)
    kinds = {ResultKind.PAGE, PDF}
    shown, _ = build(analysis, evidence, ct.manifest, INSTALLATION, kinds=kinds).objects
    sources = [item.ReferencedSOPInstanceUID for item in read(shown).SourceImageSequence]
    assert set(sources) == {ct.keys[5][0], mr.keys[5][0]}
    for words in (" | ".join(lines), " | ".join(line for line, _, _ in written)):
        assert "CT · Series 3 · HEAD 5MM" in words
        assert "MR · Series 3 · AX FLAIR" in words
        assert words.count("slice 6 of 9 (image 6)") == 2
        assert "CT and MR" in words
    assert "Highest of a series: CT 97 %, MR 97 %" in lines
    models = " ".join(lines[lines.index("Model, on CT and MR") + 1 :])
    assert "fusion 1.0.0, efficientnet-lite0-ct 1.0.0, efficientnet-lite0-mr 1.0.0" in models
    pixels = read(shown).pixel_array
    for left in (page.MARGIN_PX, page.WIDTH_PX // 2 + 12):
        pane = pixels[240:660, left + 60 : left + 490]
        assert np.ptp(pane.astype(int), axis=2).max() > 80  # a heat map lies on both


def test_the_document_is_dated_by_the_analysis_and_names_its_maker(mr: Made) -> None:
    when = datetime(2026, 3, 1, 23, 45, 0, tzinfo=UTC)
    analysis, evidence = make_analysis(mr, Outcome.PRESENT, analysed_at=when)
    files = [
        bytes(read(result).EncapsulatedDocument)
        for _ in range(2)
        for result in build(analysis, evidence, mr.manifest, INSTALLATION, kinds={PDF}).objects
    ]
    assert files[0] == files[1]
    metadata = dict(re.findall(rb"/(\w+) \((.*?)\)", files[0]))
    assert metadata[b"CreationDate"] == metadata[b"ModDate"] == b"D:20260302004500+01'00'"
    assert metadata[b"Creator"] == f"neurotriage {analysis.software_version}".encode()
    assert (metadata[b"Producer"], metadata[b"Author"]) == (b"neurotriage", b"neurotriage")
    assert metadata[b"Title"].startswith(b"AI head triage")
