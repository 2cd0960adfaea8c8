"""The document for the referring physician: one or two A4 pages, as PDF.

It does not name the patient. The archive shows the name beside the document, in any script; drawing it would
need a typeface for every script, and a wrong or missing glyph in a name is worse than none. A printed or
exported page therefore names the study by its UID alone.

The text about the study takes the places where it is looked for: the impression below the headline, the
findings below the pictures, then the limits, and the plain version in a box at the end.
"""

import io
from collections.abc import Sequence
from dataclasses import astuple
from datetime import datetime

from PIL import Image
from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfgen.canvas import Canvas

from neurotriage.core.summary import Language, Section
from neurotriage.core.summary_text import HEADINGS, origin_words
from neurotriage.core.values import Analysis, Claims, Outcome
from neurotriage.core.wording import date_and_time
from neurotriage.dicom.headers import MANUFACTURER
from worker.results.dataset import ResultContext
from worker.results.pictures.panes import COLOURS, Pane, panes
from worker.results.pictures.pdf_sheet import (
    AMBER,
    BODY_END_PT,
    BOLD,
    GAP_PT,
    INK,
    INNER_PT,
    MARGIN_PT,
    MUTED,
    REGULAR,
    RULE,
    Sheet,
    box_pt,
    height_pt,
    lines_of,
    register_fonts,
)
from worker.results.pictures.picture import colour_bar
from worker.results.sources.scene import Scene
from worker.results.wording import text
from worker.results.wording.free_text import without_identity

LARGEST_PANE_PT, SMALLEST_PANE_PT = (INNER_PT - GAP_PT) / 2, 140.0
CAPTIONS_PT = 76.0  # below the panes, with the scale of colours
HEADINGS_PT = 74.0  # all headings below, and the space between parts
PANE_PX = 720  # about 210 pixels an inch
MAX_ROWS = 12  # of the table of series
# The tint keeps the brightness of the slice, so a print in grey does not show it.
IN_GREY = "A print in grey shows the outlines only: the colours have the brightness of the slice beneath."
TEXT_PT, PLAIN_PT, ROW_PT, ROW_GAP_PT, LABELS_PT = 9.5, 10.5, 9.5, 4.5, 160.0

_ACCENTS = {
    Outcome.PRESENT: HexColor("#b3321b"),
    Outcome.ABSENT: HexColor("#1f5f8b"),
    Outcome.UNDETERMINED: HexColor("#8a6400"),
}
# Stands on every document, whatever the text says.
_LANGS = {Language.ENGLISH: "en-US", Language.GERMAN: "de-DE"}
_DECIDES = {
    Language.ENGLISH: "This software is not a medical device. The radiologist's report decides.",
    Language.GERMAN: "Diese Software ist kein Medizinprodukt. Es gilt der Befund der Radiologie.",
}


def _lang(context: ResultContext) -> str:
    """The language of the sentences (ISO 32000-1 14.9.2), which readers aloud go by."""
    return "en-US" if context.summary is None else _LANGS[context.summary.language]


def pdf_document(context: ResultContext, scene: Scene) -> bytes:
    """The PDF file (ISO 32000-1), of A4 pages. The same arguments give the same bytes."""
    register_fonts()
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=A4, invariant=1, pageCompression=1, lang=_lang(context))
    canvas.setTitle(f"AI head triage: {text.verdict(context.analysis.outcome).title}")
    canvas.setAuthor(MANUFACTURER)
    canvas.setCreator(f"{MANUFACTURER} {context.analysis.software_version}")
    canvas.setProducer(MANUFACTURER)
    canvas.setDateFormatter(lambda *_: _pdf_date(context.made_at))
    canvas.setSubject(text.RESEARCH_NOTICE)
    _Document(canvas, context, scene).draw()
    canvas.save()
    return buffer.getvalue()


def _pdf_date(when: datetime) -> str:
    """A PDF date (ISO 32000-1 7.9.4): that of the analysis, in place of reportlab's fixed one."""
    zone = when.strftime("%z")
    return f"D:{when:%Y%m%d%H%M%S}{zone[:3]}'{zone[3:5]}'"


class _Document:
    """The parts of the document in their order, on as many sheets as they need."""

    def __init__(self, canvas: Canvas, context: ResultContext, scene: Scene) -> None:
        self._sheet = Sheet(canvas, _footer(context))
        self._context = context
        self._analysis: Analysis = context.analysis
        self._summary = context.summary
        self._language = Language.ENGLISH if context.summary is None else context.summary.language
        self._scene = scene
        self._accent = _ACCENTS.get(self._analysis.outcome, INK)

    def draw(self) -> None:
        analysed = self._analysis.outcome.analysed
        self._headline()
        self._gauge()
        # With triage-only claims the document states the outcome without its origin.
        if self._context.claims is Claims.RESEARCH and analysed:
            self._pictures(panes(self._context, self._scene, PANE_PX))
        self._findings()
        self._rows(_facts(self._context))
        if not analysed:
            self._rows(_series_rows(self._context), "Series of this study")
        self._limits()
        self._plain()
        self._sheet.finish()

    def _sentences(self, section: Section) -> list[str]:
        sentences = () if self._summary is None else self._summary.sentences
        return [item.text for item in sentences if item.section is section]

    def _headline(self) -> None:
        sheet, verdict = self._sheet, text.verdict(self._analysis.outcome)
        sheet.write(verdict.headline, 28, BOLD, self._accent)
        if verdict.rest:
            used_pt = pdfmetrics.stringWidth(verdict.headline, BOLD, 28)
            sheet.write(verdict.rest, 12, BOLD, self._accent, MARGIN_PT + used_pt + 10)
        sheet.y -= 26
        # Why there is no clear answer is said by the reasons alone, which may quote a rule of the site.
        told = self._sentences(Section.IMPRESSION)
        reasons = text.summary(self._analysis, self._context.claims)
        clear = self._analysis.outcome in (Outcome.PRESENT, Outcome.ABSENT)
        first, *rest = told if told and clear else [reasons, *told]
        sheet.wrapped(first, 11.5, font=BOLD)
        sheet.wrapped(" ".join(rest), 10.5)
        notes = without_identity(text.notes(self._analysis), self._context.header)
        sheet.wrapped(notes, 10, colour=AMBER)
        sheet.y -= 8

    def _gauge(self) -> None:
        """The probability on a scale with the threshold."""
        sheet = self._sheet
        prediction = text.deciding_prediction(self._analysis)
        if prediction is None:
            return
        probability, threshold = prediction.probabilities[text.TUMOUR], prediction.threshold
        sheet.write("Probability of tumour, by the model", 9, REGULAR, MUTED)
        sheet.y -= 20
        sheet.write(text.percent(probability), 17, BOLD, self._accent)
        x, width = MARGIN_PT + 86, INNER_PT - 86
        sheet.canvas.setFillColor(RULE)
        sheet.canvas.roundRect(x, sheet.y + 1, width, 10, 5, stroke=0, fill=1)
        sheet.canvas.setFillColor(self._accent)
        sheet.canvas.roundRect(x, sheet.y + 1, max(probability * width, 10), 10, 5, stroke=0, fill=1)
        tick = x + threshold * width
        sheet.canvas.setFillColor(INK)
        sheet.canvas.rect(tick - 0.75, sheet.y - 3, 1.5, 18, stroke=0, fill=1)
        sheet.y -= 14
        sheet.canvas.setFont(REGULAR, 8)
        sheet.canvas.setFillColor(MUTED)
        sheet.canvas.drawString(x, sheet.y, "0 %")
        sheet.canvas.drawRightString(x + width, sheet.y, "100 %")
        sheet.canvas.drawCentredString(
            min(max(tick, x + 75), x + width - 85),
            sheet.y,
            f"suspicious from {text.percent(threshold)}"
            if text.percent(probability) != text.percent(threshold)
            else text.beside_threshold(probability, threshold),
        )
        sheet.y -= 20
        self._opinion(x, width)

    def _opinion(self, x: float, width: float) -> None:
        """A second opinion on a scale of its own below ours: hollow, for nobody calibrated it."""
        opinion = None if self._summary is None else self._summary.opinion
        if opinion is None:
            return
        sheet = self._sheet
        sheet.write("Second model, advice only", 9, REGULAR, MUTED)
        sheet.y -= 18
        sheet.write(text.opinion_words(opinion), 9, BOLD)
        sheet.canvas.setStrokeColor(RULE)
        sheet.canvas.roundRect(x, sheet.y, width, 8, 4, stroke=1, fill=0)
        if opinion.tumour is not None:
            sheet.canvas.setStrokeColor(INK)
            filled = max(opinion.tumour * width, 8)
            sheet.canvas.roundRect(x, sheet.y, filled, 8, 4, stroke=1, fill=0)
        sheet.y -= 20

    def _pictures(self, shown: Sequence[Pane]) -> None:
        if not shown:
            return
        sheet = self._sheet
        widest_pt = min((INNER_PT - (len(shown) - 1) * GAP_PT) / len(shown), LARGEST_PANE_PT)
        side_pt = self._pane_pt(widest_pt)
        sheet.need(side_pt + CAPTIONS_PT)
        sheet.y -= side_pt - 8
        left_pt = [MARGIN_PT + number * (side_pt + GAP_PT) for number in range(len(shown))]
        for x, pane in zip(left_pt, shown, strict=True):
            sheet.canvas.drawImage(ImageReader(Image.fromarray(pane.shown)), x, sheet.y, side_pt, side_pt)
        captions = [[*filter(None, astuple(pane.caption)), "", ""] for pane in shown]
        for number, (font, colour) in enumerate(((BOLD, INK), (REGULAR, INK), (REGULAR, MUTED))):
            sheet.y -= 12 if number == 0 else 11
            for x, lines in zip(left_pt, captions, strict=True):
                line = lines_of(lines[number], 8, side_pt, font)[:1]
                sheet.write("".join(line), 8, font, colour, x)
        if any(pane.heat for pane in shown):
            sheet.y -= 14
            sheet.write("0 %", 8, REGULAR, INK)
            bar = ImageReader(Image.fromarray(colour_bar(160, 16)))
            sheet.canvas.drawImage(bar, MARGIN_PT + 18, sheet.y, 40, 7)
            sheet.write("100 %", 8, REGULAR, INK, MARGIN_PT + 62)
            sheet.write(COLOURS, 8, REGULAR, MUTED, MARGIN_PT + 92)
            sheet.y -= 11
            sheet.write(IN_GREY, 8, REGULAR, MUTED)
        sheet.y -= 18

    def _pane_pt(self, widest_pt: float) -> float:
        """The side of a pane with which everything fits the sheet, or all but the plain version.

        The widest where neither would leave a picture that is large enough.
        """
        rows = sum(
            min(height_pt(value, ROW_PT, INNER_PT - LABELS_PT), 2 * 1.4 * ROW_PT) + ROW_GAP_PT
            for _, value in _facts(self._context)
        )
        bullets = sum(height_pt(words, TEXT_PT, INNER_PT - 12) for words in self._bullets())
        findings = height_pt(" ".join(self._sentences(Section.FINDINGS)), TEXT_PT)
        apart_pt = self._sheet.y - BODY_END_PT - CAPTIONS_PT - rows - bullets - findings - HEADINGS_PT
        plain = " ".join(self._sentences(Section.PLAIN))
        fitting = [apart_pt - box_pt(plain, PLAIN_PT) if plain else apart_pt, apart_pt]
        return next((min(side, widest_pt) for side in fitting if side >= SMALLEST_PANE_PT), widest_pt)

    def _findings(self) -> None:
        words = " ".join(self._sentences(Section.FINDINGS))
        if words:
            self._sheet.heading(HEADINGS[self._language][Section.FINDINGS], height_pt(words, TEXT_PT))
            self._sheet.wrapped(words, TEXT_PT)
            self._sheet.y -= 10

    def _rows(self, rows: Sequence[tuple[str, str]], title: str = "") -> None:
        sheet = self._sheet
        if title and rows:
            sheet.heading(title, 2 * ROW_PT)
        for label, value in rows:
            sheet.need(1.4 * ROW_PT)
            sheet.rule(12)
            sheet.write("".join(lines_of(label, ROW_PT, 150)[:1]), ROW_PT, REGULAR, MUTED)
            sheet.wrapped(value, ROW_PT, MARGIN_PT + LABELS_PT, most=2)
            sheet.y -= ROW_GAP_PT

    def _bullets(self) -> list[str]:
        return [*self._sentences(Section.LIMITS), _DECIDES[self._language]]

    def _limits(self) -> None:
        sheet, bullets = self._sheet, self._bullets()
        height = sum(height_pt(words, TEXT_PT, INNER_PT - 12) for words in bullets) + 14
        sheet.heading(HEADINGS[self._language][Section.LIMITS], height)
        for words in bullets:
            sheet.need(0)
            sheet.write("•", TEXT_PT)
            sheet.wrapped(words, TEXT_PT, MARGIN_PT + 12)
        if self._summary is not None:
            sheet.y -= 3
            sheet.write(origin_words(self._summary), 8, REGULAR, MUTED)
            sheet.y -= 14

    def _plain(self) -> None:
        words = " ".join(self._sentences(Section.PLAIN))
        if words:
            self._sheet.boxed(HEADINGS[self._language][Section.PLAIN], words, PLAIN_PT)


def _footer(context: ResultContext) -> tuple[str, ...]:
    return (
        f"neurotriage {context.analysis.software_version}, {date_and_time(context.made_at)}",
        f"Study {context.study_uid}",
        "The patient is named by the archive beside this document, not on the page.",
    )


def _facts(context: ResultContext) -> list[tuple[str, str]]:
    """Label and value of each fact that is known."""
    analysis = context.analysis
    alike = text.mimic(analysis)
    rows = [
        (text.MIMIC_NAME, "" if alike is None else f"{text.percent(alike)}, by the model"),
        ("Triage", analysis.triage.value.capitalize() if analysis.outcome.analysed else ""),
        ("Modalities used", text.modalities_words(analysis)),
        ("Model", text.model_names(analysis)),
    ]
    return [(label, value) for label, value in rows if value]


def _series_rows(context: ResultContext) -> list[tuple[str, str]]:
    """Series and verdict, refused ones first; at most ``MAX_ROWS``, and the number of the others."""
    ordered = sorted(context.analysis.verdicts, key=lambda item: item.taken)
    rows = [
        (
            f"{item.modality or '?'}  "
            f"{without_identity(item.description, context.header) or 'no description'}",
            f"{'Taken' if item.taken else 'Refused'}: {item.reason.text}",
        )
        for item in ordered[:MAX_ROWS]
    ]
    left = len(ordered) - len(rows)
    return [*rows, ("", f"and {left} more series")] if left else rows
