"""The text stands in report, document, page and JSON: whole, in its language, and marked with its origin."""

import io
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import highdicom as hd
import pytest
from pydicom import Dataset, dcmread
from reportlab.pdfgen.canvas import Canvas

from neurotriage.core.result_json import study_entry
from neurotriage.core.summary import Language, Origin, Section, Summary
from neurotriage.core.summary_text import summary_of
from neurotriage.core.values import Outcome, ResultKind, ResultObject
from neurotriage.phantom import INSTALLATION, Made, make_analysis, make_study
from tests.results.told import told
from worker.results import build, report_text
from worker.results.pictures import pdf_sheet

REPORT, DOCUMENT, PAGE = ResultKind.REPORT, ResultKind.DOCUMENT, ResultKind.PAGE
Line = tuple[str, float, float]  # words, right edge and baseline, in points
FOOTER = {pdf_sheet.FOOTER_PT, pdf_sheet.FOOTER_PT - 12, pdf_sheet.FOOTER_PT - 24}
BY_MODEL = told(origin=Origin.MODEL, author="a-model")


def made_of(
    made: Made, summary: Summary | None, outcome: Outcome = Outcome.PRESENT, **choices: Any
) -> dict[ResultKind, ResultObject]:
    analysis, evidence = make_analysis(made, outcome)
    kinds = choices.pop("kinds", {PAGE, REPORT, DOCUMENT})
    built = build(analysis, evidence, made.manifest, INSTALLATION, kinds=kinds, summary=summary, **choices)
    return {ResultKind(result.kind): result for result in built.objects}


def read(result: ResultObject) -> Dataset:
    return dcmread(io.BytesIO(result.data))


def codes(dataset: Dataset) -> list[str]:
    return [item.ConceptNameCodeSequence[0].CodeValue for item in dataset.ContentSequence]


@pytest.mark.parametrize("summary", [told(), told(Language.GERMAN), BY_MODEL])
def test_the_report_has_the_text_in_a_section_after_the_measurements(mr: Made, summary: Summary) -> None:
    report = read(made_of(mr, summary, kinds={REPORT})[REPORT])
    names = codes(report)
    assert names.index("55112-7") == len(names) - 1 > names.index("126010")
    section = report.ContentSequence[-1]
    texts = [item.TextValue for item in section.ContentSequence if codes_of(item) == "111412"]
    assert len(texts) == len(Section)
    for shown, part in zip(texts, Section, strict=True):
        assert shown.endswith(f": {summary.text_of(part)}")
    (language,) = [item for item in section.ContentSequence if codes_of(item) == "121049"]
    assert language.ConceptCodeSequence[0].CodeValue == summary.language
    (origin,) = [item.TextValue for item in section.ContentSequence if codes_of(item) == "121106"]
    assert {"en": "template", "de": "Vorlage"}[summary.language] in origin or "a-model" in origin


def codes_of(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeValue)


def test_the_measurements_of_a_report_are_the_same_with_and_without_a_text(mr: Made) -> None:
    with_text, without = (
        hd.sr.srread(io.BytesIO(made_of(mr, words, kinds={REPORT})[REPORT].data)) for words in (told(), None)
    )
    assert list(with_text.ContentSequence[:-1]) == list(without.ContentSequence)
    assert len(with_text.content.get_planar_roi_measurement_groups()) > 1  # type: ignore[attr-defined]


def test_german_words_are_legal_in_whatever_character_set_the_source_has(
    tmp_path: Any, errors_of: Callable[[bytes], list[str]]
) -> None:
    for place, charset in enumerate((None, "ISO_IR 100", "ISO_IR 144", ["", "ISO 2022 IR 87"])):
        made = make_study(tmp_path / str(place), slices=5, header={"SpecificCharacterSet": charset})
        result = made_of(made, told(Language.GERMAN), kinds={REPORT})[REPORT]
        assert "Öl auf dem Fuß" in read(result).ContentSequence[-1].ContentSequence[3].TextValue
        assert errors_of(result.data) == []


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[Line]:
    """What is written on a document, with its right edge and baseline; a form feed between sheets."""
    written: list[Line] = []
    draw, turn = Canvas.drawString, Canvas.showPage

    def spy(canvas: Canvas, x: float, y: float, words: str, *rest: Any, **more: Any) -> None:
        written.append((words, x + canvas.stringWidth(words, canvas._fontname, canvas._fontsize), y))
        draw(canvas, x, y, words, *rest, **more)

    def turned(canvas: Canvas) -> None:
        written.append(("\f", 0, pdf_sheet.HEIGHT_PT))
        turn(canvas)

    monkeypatch.setattr(Canvas, "drawString", spy)
    monkeypatch.setattr(Canvas, "showPage", turned)
    return written


def said(lines: list[Line]) -> str:
    return " ".join(words for words, _, _ in lines)


@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("repeat", [1, 4, 150])
def test_a_document_shows_every_sentence_whole_and_nothing_beyond_its_edges(
    mr: Made, lines: list[Line], outcome: Outcome, language: Language, repeat: int
) -> None:
    summary = told(language, repeat=repeat)
    made_of(mr, summary, outcome, kinds={DOCUMENT})
    body = [line for line in lines if line[2] not in FOOTER and line[2] < pdf_sheet.HEIGHT_PT - 40]
    words = said(body).replace(" • ", " ")
    for sentence in summary.sentences:
        assert sentence.text in words, sentence
    assert "…" not in words
    assert "?" not in words.replace("Übel?", "")  # what the typeface lacks is a question mark
    assert max(right for _, right, _ in lines) <= pdf_sheet.WIDTH_PT - pdf_sheet.MARGIN_PT + 1
    assert min(y for _, _, y in body) >= pdf_sheet.BODY_END_PT


@pytest.mark.parametrize("outcome", Outcome)
def test_a_usual_text_fits_one_page(mr: Made, lines: list[Line], outcome: Outcome) -> None:
    made_of(mr, told(plain=False, repeat=2), outcome, kinds={DOCUMENT})
    assert said(lines).count("\f") == 1
    assert "Page 1" not in said(lines)


def test_each_of_several_sheets_has_notice_number_and_study(mr: Made, lines: list[Line]) -> None:
    data = made_of(mr, told(repeat=30), kinds={DOCUMENT})[DOCUMENT]
    sheets = said(lines).split("\f")[:-1]
    assert len(sheets) > 1
    assert len(re.findall(rb"/Type\s*/Page\b", read(data).EncapsulatedDocument)) == len(sheets)
    for sheet in sheets:
        assert sheet.strip().startswith("AI head triage")
        assert f"Study {mr.manifest.study_instance_uid}" in sheet


def test_what_the_text_says_stands_once_on_a_document(mr: Made, lines: list[Line]) -> None:
    for summary in (told(), told(Language.GERMAN), BY_MODEL):
        lines.clear()
        made_of(mr, summary, kinds={DOCUMENT})
        words = said(lines)
        assert words.count(summary.text_of(Section.FINDINGS).split(".")[0]) == 1
        assert "suspected lesion" not in words
        marked = {"de": "Text nach Vorlage", "en": "Text by template"}[summary.language]
        if summary.author:
            marked = "Text chosen by a-model, each sentence checked against the analysis"
        assert words.count(marked) == 1


def test_why_there_is_no_answer_stays_beside_the_text(mr: Made, lines: list[Line]) -> None:
    for outcome in set(Outcome) - {Outcome.PRESENT, Outcome.ABSENT}:
        lines.clear()
        analysis, _ = make_analysis(mr, outcome)
        made_of(mr, told(), outcome, kinds={DOCUMENT})
        assert analysis.reasons[0].text[1:] in said(lines)


@pytest.mark.parametrize("outcome", Outcome)
def test_the_page_has_the_impression_where_no_picture_fills_it(
    mr: Made, written: Any, outcome: Outcome
) -> None:
    made_of(mr, told(), outcome, kinds={PAGE})
    words = " ".join(line for line, _, _ in written)
    assert (told().text_of(Section.IMPRESSION) in words) == (not outcome.analysed)


@pytest.mark.parametrize("outcome", Outcome)
def test_other_words_make_another_object_in_the_same_series_and_leave_the_others(
    mr: Made, outcome: Outcome
) -> None:
    kinds = set(ResultKind) - {ResultKind.KEY_OBJECTS}  # which name the report
    changed = replace(told(), sentences=told().sentences[1:])
    before, after, again = (
        made_of(mr, words, outcome, kinds=kinds, telling=telling)
        for words, telling in ((told(), 0), (changed, 0), (told(), 2))
    )
    for kind, result in before.items():
        shows = kind in (REPORT, DOCUMENT) or (kind is PAGE and not outcome.analysed)
        for other in (after[kind], again[kind]):
            assert (other.sop_instance_uid != result.sop_instance_uid) == shows, kind
            assert other.series_instance_uid == result.series_instance_uid
            assert shows or other.data == result.data


def test_what_is_told_again_is_dated_then_in_the_series_of_before(mr: Made) -> None:
    kinds = {PAGE, REPORT, ResultKind.KEY_OBJECTS}
    later = datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)
    before = made_of(mr, told(), kinds=kinds)
    after = made_of(mr, told(), kinds=kinds, telling=1, retold_at=later)
    for kind in (REPORT, ResultKind.KEY_OBJECTS):
        old, new = read(before[kind]), read(after[kind])
        written = later.astimezone(timezone(timedelta(hours=int(new.TimezoneOffsetFromUTC) // 100)))
        for name in ("Content", "InstanceCreation"):
            assert new[f"{name}Date"].value == written.strftime("%Y%m%d")
            assert new[f"{name}Time"].value == written.strftime("%H%M%S")
        assert (new.SeriesDate, new.SeriesTime) == (old.SeriesDate, old.SeriesTime)
    assert after[PAGE].data == before[PAGE].data


def test_the_text_is_in_result_json_and_comes_back_equal(mr: Made) -> None:
    analysis, _ = make_analysis(mr, Outcome.PRESENT)
    entry = study_entry(analysis, [], summary=BY_MODEL)["summary"]
    assert (entry["language"], entry["origin"], entry["author"]) == ("en", "model", "a-model")
    for section in Section:
        assert entry[section.value] == BY_MODEL.text_of(section)
    assert entry["sentences"][0] == {
        "section": "findings",
        "phrase": "findings.0",
        "facts": ["outcome"],
        "text": BY_MODEL.sentences[0].text,
    }
    assert summary_of(entry) == BY_MODEL
    assert study_entry(analysis, [])["summary"] is None


def test_the_plain_text_has_every_sentence_under_its_heading(mr: Made) -> None:
    analysis, _ = make_analysis(mr, Outcome.PRESENT)
    words = report_text(analysis, told(Language.GERMAN))
    flat = " ".join(words.split())
    for section, heading in zip(Section, ("Befund", "Beurteilung", "Grenzen", "In einfachen"), strict=True):
        assert heading in flat
        assert told(Language.GERMAN).text_of(section) in flat
    assert "(Text nach Vorlage)" in flat
    assert max(map(len, words.splitlines())) < 130


@pytest.mark.parametrize(("language", "stated"), [(Language.ENGLISH, b"en-US"), (Language.GERMAN, b"de-DE")])
def test_the_pdf_states_the_language_of_its_sentences(language: Language, stated: bytes, mr: Made) -> None:
    document = read(made_of(mr, told(language), kinds={DOCUMENT})[DOCUMENT])
    assert b"/Lang (" + stated + b")" in document.EncapsulatedDocument
