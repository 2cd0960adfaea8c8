"""The document for the referring physician: one A4 page in plain words, as PDF.

It does not name the patient. The archive shows the name beside the document, in any script; drawing it would
need a typeface for every script, and a wrong or missing glyph in a name is worse than none. A printed or
exported page therefore names the study by its UID alone.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from datetime import datetime
from functools import cache

from PIL import Image
from reportlab.lib.colors import Color, HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.utils import ImageReader, simpleSplit
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

from neurotriage.core.values import Analysis, Claims, Outcome
from neurotriage.core.wording import date_and_time
from neurotriage.dicom.headers import MANUFACTURER
from worker.results.dataset import ResultContext
from worker.results.pictures.panes import COLOURS, Pane, panes
from worker.results.pictures.picture import colour_bar
from worker.results.pictures.typeface import FONTS, drawable
from worker.results.sources.scene import Scene
from worker.results.wording import text
from worker.results.wording.free_text import without_identity

WIDTH_PT, HEIGHT_PT = A4
MARGIN_PT, GAP_PT = 48.0, 14.0
INNER_PT = WIDTH_PT - 2 * MARGIN_PT
LARGEST_PANE_PT = (INNER_PT - GAP_PT) / 2
PANE_PX = 720  # about 210 pixels an inch
FOOTER_PT = 62.0
MAX_ROWS = 12  # of the table of series
# The tint keeps the brightness of the slice, so a print in grey does not show it.
IN_GREY = "A print in grey shows the outlines only: the colours have the brightness of the slice beneath."

REGULAR, BOLD = "Inter", "Inter-SemiBold"
INK, MUTED, RULE = HexColor("#16202b"), HexColor("#5b6875"), HexColor("#d3d9df")
AMBER, AMBER_GROUND = HexColor("#7a4b00"), HexColor("#fdf1d8")
_ACCENTS = {
    Outcome.PRESENT: HexColor("#b3321b"),
    Outcome.ABSENT: HexColor("#1f5f8b"),
    Outcome.UNDETERMINED: HexColor("#8a6400"),
}
_DECIDES = "The radiologist's report decides."
_MEANINGS = {
    Outcome.PRESENT: "The model found patterns that it associates with a tumour. This is not a diagnosis, "
    f"and false alarms happen. {_DECIDES}",
    Outcome.ABSENT: "The model found no pattern that it associates with a tumour. It can miss tumours, and "
    f"it does not look for other disease. {_DECIDES}",
    Outcome.UNDETERMINED: "The model gives no safe answer. That speaks neither for nor against a tumour. "
    f"{_DECIDES}",
}
_NOT_JUDGED = f"No model judged this study, which speaks neither for nor against a tumour. {_DECIDES}"


def pdf_document(context: ResultContext, scene: Scene) -> bytes:
    """The PDF file (ISO 32000-1) of one A4 page. The same arguments give the same bytes."""
    _register_fonts()
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=A4, invariant=1, pageCompression=1, lang="en-US")
    canvas.setTitle(f"AI head triage: {text.verdict(context.analysis.outcome).title}")
    canvas.setAuthor(MANUFACTURER)
    canvas.setCreator(f"{MANUFACTURER} {context.analysis.software_version}")
    canvas.setProducer(MANUFACTURER)
    canvas.setDateFormatter(lambda *_: _pdf_date(context.made_at))
    canvas.setSubject(text.RESEARCH_NOTICE)
    _Page(canvas, context, scene).draw()
    canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def _pdf_date(when: datetime) -> str:
    """A PDF date (ISO 32000-1 7.9.4): that of the analysis, in place of reportlab's fixed one."""
    zone = when.strftime("%z")
    return f"D:{when:%Y%m%d%H%M%S}{zone[:3]}'{zone[3:5]}'"


@cache
def _register_fonts() -> None:
    for name, file in ((REGULAR, "Inter-Regular.ttf"), (BOLD, "Inter-SemiBold.ttf")):
        pdfmetrics.registerFont(TTFont(name, str(FONTS / file)))


class _Page:
    """A page that is filled from the top; ``_y`` is the next baseline, in points from the bottom edge."""

    def __init__(self, canvas: Canvas, context: ResultContext, scene: Scene) -> None:
        self._canvas = canvas
        self._frame = context
        self._analysis: Analysis = context.analysis
        self._scene = scene
        self._y = HEIGHT_PT - 40
        self._accent = _ACCENTS.get(self._analysis.outcome, INK)

    def draw(self) -> None:
        self._banner()
        self._headline()
        self._gauge()
        # With triage-only claims the document states the outcome without its origin.
        if self._frame.claims is Claims.RESEARCH and self._analysis.outcome.analysed:
            self._pictures(panes(self._frame, self._scene, PANE_PX))
        self._facts(_facts(self._frame))
        if not self._analysis.outcome.analysed:
            self._facts(_series_rows(self._frame), "Series of this study")
        self._limits()
        self._footer()

    def _write(
        self, words: str, size_pt: float, font: str = REGULAR, colour: Color = INK, x: float = MARGIN_PT
    ) -> None:
        self._canvas.setFont(font, size_pt)
        self._canvas.setFillColor(colour)
        self._canvas.drawString(x, self._y, drawable(words))

    def _wrapped(
        self,
        words: str,
        size_pt: float,
        lines: int,
        x: float = MARGIN_PT,
        font: str = REGULAR,
        colour: Color = INK,
    ) -> None:
        """Text in at most ``lines`` lines, from the next row on."""
        split = simpleSplit(drawable(words), font, size_pt, WIDTH_PT - MARGIN_PT - x)
        if len(split) > lines:
            split = [*split[: lines - 1], split[lines - 1].rstrip() + " …"]
        for line in split:
            self._write(line, size_pt, font, colour, x)
            self._y -= 1.4 * size_pt

    def _banner(self) -> None:
        self._canvas.setFillColor(AMBER_GROUND)
        self._canvas.rect(0, self._y - 12, WIDTH_PT, 60, stroke=0, fill=1)
        self._write("AI head triage", 10, BOLD, AMBER)
        self._canvas.drawRightString(WIDTH_PT - MARGIN_PT, self._y, text.RESEARCH_NOTICE)
        self._y -= 56

    def _headline(self) -> None:
        verdict = text.verdict(self._analysis.outcome)
        self._write(verdict.headline, 28, BOLD, self._accent)
        if verdict.rest:
            used_pt = pdfmetrics.stringWidth(verdict.headline, BOLD, 28)
            self._write(verdict.rest, 12, BOLD, self._accent, MARGIN_PT + used_pt + 10)
        self._y -= 26
        self._wrapped(text.summary(self._analysis, self._frame.claims), 11.5, 4, font=BOLD)
        notes = without_identity(text.notes(self._analysis), self._frame.header)
        self._wrapped(notes, 10, 3, colour=AMBER)
        self._wrapped(_MEANINGS.get(self._analysis.outcome, _NOT_JUDGED), 10.5, 3)
        self._y -= 8

    def _gauge(self) -> None:
        """The probability on a scale with the threshold."""
        prediction = text.deciding_prediction(self._analysis)
        if prediction is None:
            return
        probability, threshold = prediction.probabilities[text.TUMOUR], prediction.threshold
        self._write("Probability of tumour, by the model", 9, REGULAR, MUTED)
        self._y -= 20
        self._write(text.percent(probability), 17, BOLD, self._accent)
        x, width = MARGIN_PT + 86, INNER_PT - 86
        self._canvas.setFillColor(RULE)
        self._canvas.roundRect(x, self._y + 1, width, 10, 5, stroke=0, fill=1)
        self._canvas.setFillColor(self._accent)
        self._canvas.roundRect(x, self._y + 1, max(probability * width, 10), 10, 5, stroke=0, fill=1)
        tick = x + threshold * width
        self._canvas.setFillColor(INK)
        self._canvas.rect(tick - 0.75, self._y - 3, 1.5, 18, stroke=0, fill=1)
        self._y -= 14
        self._canvas.setFont(REGULAR, 8)
        self._canvas.setFillColor(MUTED)
        self._canvas.drawString(x, self._y, "0 %")
        self._canvas.drawRightString(x + width, self._y, "100 %")
        self._canvas.drawCentredString(
            min(max(tick, x + 75), x + width - 85),
            self._y,
            f"suspicious from {text.percent(threshold)}"
            if text.percent(probability) != text.percent(threshold)
            else text.beside_threshold(probability, threshold),
        )
        self._y -= 20

    def _pictures(self, shown: Sequence[Pane]) -> None:
        if not shown:
            return
        side_pt = min((INNER_PT - (len(shown) - 1) * GAP_PT) / len(shown), LARGEST_PANE_PT)
        self._y -= side_pt - 8
        left_pt = [MARGIN_PT + number * (side_pt + GAP_PT) for number in range(len(shown))]
        for x, pane in zip(left_pt, shown, strict=True):
            self._canvas.drawImage(_reader(Image.fromarray(pane.shown)), x, self._y, side_pt, side_pt)
        captions = [[*filter(None, astuple(pane.caption)), "", ""] for pane in shown]
        for number, (font, colour) in enumerate(((BOLD, INK), (REGULAR, INK), (REGULAR, MUTED))):
            self._y -= 12 if number == 0 else 11
            for x, lines in zip(left_pt, captions, strict=True):
                line = simpleSplit(drawable(lines[number]), font, 8, side_pt)[:1]
                self._write("".join(line), 8, font, colour, x)
        if any(pane.heat for pane in shown):
            self._y -= 14
            self._write("0 %", 8, REGULAR, INK)
            bar = _reader(Image.fromarray(colour_bar(160, 16)))
            self._canvas.drawImage(bar, MARGIN_PT + 18, self._y, 40, 7)
            self._write("100 %", 8, REGULAR, INK, MARGIN_PT + 62)
            self._write(COLOURS, 8, REGULAR, MUTED, MARGIN_PT + 92)
            self._y -= 11
            self._write(IN_GREY, 8, REGULAR, MUTED)
        self._y -= 18

    def _facts(self, rows: Sequence[tuple[str, str]], title: str = "") -> None:
        if title and rows:
            self._y -= 6
            self._write(title, 10.5, BOLD)
            self._y -= 16
        for label, value in rows:
            self._canvas.setStrokeColor(RULE)
            self._canvas.line(MARGIN_PT, self._y + 12, WIDTH_PT - MARGIN_PT, self._y + 12)
            short = simpleSplit(drawable(label), REGULAR, 9.5, 150)[:1]
            self._write("".join(short), 9.5, REGULAR, MUTED)
            self._wrapped(value, 9.5, 2, MARGIN_PT + 160)
            self._y -= 4.5

    def _limits(self) -> None:
        self._y -= 8
        self._write("Limits", 10.5, BOLD)
        self._y -= 16
        for words in _limits(self._analysis, self._frame.claims):
            self._write("•", 9.5)
            self._wrapped(words, 9.5, 2, MARGIN_PT + 12)

    def _footer(self) -> None:
        self._y = FOOTER_PT
        self._canvas.setStrokeColor(RULE)
        self._canvas.line(MARGIN_PT, self._y + 14, WIDTH_PT - MARGIN_PT, self._y + 14)
        for words in (
            f"neurotriage {self._analysis.software_version}, {date_and_time(self._frame.made_at)}",
            f"Study {self._frame.study_uid}",
            "The patient is named by the archive beside this document, not on the page.",
        ):
            self._write(words, 8, REGULAR, MUTED)
            self._y -= 12


def _reader(picture: Image.Image) -> ImageReader:
    return ImageReader(picture)


def _facts(context: ResultContext) -> list[tuple[str, str]]:
    """Label and value of each fact that is known."""
    analysis = context.analysis
    outlined, alike = text.lesions(analysis), text.mimic(analysis)
    lesions = [
        (f"Lesion {item.lesion}", text.place_words(item)) for item in outlined[: text.MAX_LESIONS_SHOWN]
    ]
    if len(outlined) > len(lesions):
        lesions.append(("", f"and {len(outlined) - len(lesions)} more"))
    rows = [
        *lesions,
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


def _limits(analysis: Analysis, claims: Claims) -> Iterator[str]:
    if analysis.outcome.marked and claims is Claims.RESEARCH:
        yield "Colours, outline and size come from the model. They do not show how far a tumour extends."
    if analysis.outcome.analysed:
        yield "The model was trained on a limited number of studies; other scanners and patients may differ."
        yield "It looks for tumours. Other disease may be missed."
    yield "This software is not a medical device. Do not change a patient's treatment because of this page."
