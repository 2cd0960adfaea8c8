"""The summary page: one picture that stands alone in a PACS that hides everything else.

A fixed grid on a viewer's dark ground: the verdict across the whole width (legible in a thumbnail), one
sentence, two panes, one row of facts, the research notice. No type is smaller than 18 px. No identity is
drawn: the archive shows it, and the picture may travel without it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from neurotriage.core.values import Analysis, Outcome, SeriesVerdict
from worker.results import text
from worker.results.dataset import Frame
from worker.results.pictures.panes import colour_bar, panes, without_identity
from worker.results.pictures.picture import HEAT_THRESHOLD, Picture
from worker.results.pictures.typeface import fitted, font, shorten, wrap, write
from worker.results.scene import Scene

WIDTH_PX, HEIGHT_PX = 1200, 960
MARGIN_PX, GAP_PX = 36, 24
PANE_PX = (WIDTH_PX - 2 * MARGIN_PX - GAP_PX) // 2
TEXT_WIDTH_PX = WIDTH_PX - 2 * MARGIN_PX

# Baselines and edges of the rows, from the top.
HEADLINE_Y, SUMMARY_Y, PANES_Y = 112, 164, 222
CAPTION_Y = PANES_Y + PANE_PX + 30
FACTS_Y = CAPTION_Y + 22
FOOTER_Y = HEIGHT_PX - 48

HEADLINE_PX, REST_PX, SUMMARY_PX, VALUE_PX, SMALL_PX = 96, 37, 27, 25, 18
CAPTION_PX, TABLE_PX = 19, 21
LEGEND_ROW_PX = 28  # by which panes are lower where captions and colour bar take a row each
LABEL_DY, VALUE_DY, SMALL_VALUES_DY = 27, 58, (50, 72)  # of the facts, below their rule
GAUGE_PX, GAUGE_COLUMN_PX = 210, 410
TABLE_LINE_PX, REASON_X = 28, MARGIN_PX + 424

Colour = tuple[int, int, int]
GROUND: Colour = (13, 16, 20)
PANE_GROUND: Colour = (0, 0, 0)
RULE: Colour = (52, 60, 70)
WHITE: Colour = (240, 243, 246)
MUTED: Colour = (154, 164, 176)
AMBER: Colour = (255, 196, 84)
AMBER_GROUND: Colour = (52, 38, 8)

_ACCENTS: dict[Outcome, Colour] = {
    Outcome.PRESENT: (255, 128, 96),
    Outcome.ABSENT: (150, 205, 240),
    Outcome.UNDETERMINED: (255, 214, 102),
}
_UNANALYSED_ACCENT: Colour = (190, 198, 208)


@dataclass(frozen=True, slots=True)
class _Canvas:
    image: Image.Image
    draw: ImageDraw.ImageDraw


def page_picture(frame: Frame, scene: Scene) -> Picture:
    """The page, uint8 RGB of shape (960, 1200, 3)."""
    analysis = frame.analysis
    image = Image.new("RGB", (WIDTH_PX, HEIGHT_PX), GROUND)
    canvas = _Canvas(image, ImageDraw.Draw(image))
    _headline(canvas, analysis.outcome)
    face = font(SUMMARY_PX)
    if analysis.outcome.analysed:
        words = f"{text.summary(analysis, frame.claims)} {text.notes(analysis)}"
        _lines(canvas, wrap(words, face, TEXT_WIDTH_PX, 2), SUMMARY_Y)
        _panes(canvas, frame, scene)
        _facts(canvas, analysis)
    else:
        bottom_y = _lines(canvas, wrap(text.summary(analysis), face, TEXT_WIDTH_PX, 4), SUMMARY_Y)
        _table(canvas, frame, max(bottom_y + 18, PANES_Y + 34))
    _footer(canvas, frame)
    return np.asarray(image)


def _headline(canvas: _Canvas, outcome: Outcome) -> None:
    """The verdict across the width; the rest of the phrase beside it, in two lines if need be."""
    verdict = text.verdict(outcome)
    accent = _ACCENTS.get(outcome, _UNANALYSED_ACCENT)
    canvas.draw.rectangle((0, 0, 11, PANES_Y - 22), fill=accent)
    large, small = fitted(verdict.headline, HEADLINE_PX, TEXT_WIDTH_PX, bold=True), font(REST_PX, True)
    write(canvas.draw, (MARGIN_PX - 4, HEADLINE_Y), verdict.headline, large, accent)
    x = MARGIN_PX + large.getlength(verdict.headline) + GAP_PX
    lines = wrap(verdict.rest, small, WIDTH_PX - MARGIN_PX - x, 2)
    for place, line in enumerate(reversed(lines)):
        write(canvas.draw, (x, HEADLINE_Y - place * (REST_PX + 4)), line, small, accent)


def _lines(canvas: _Canvas, lines: Sequence[str], baseline_y: int) -> int:
    for line in lines:
        write(canvas.draw, (MARGIN_PX, baseline_y), line, font(SUMMARY_PX), WHITE)
        baseline_y += SUMMARY_PX + 7
    return baseline_y


def _panes(canvas: _Canvas, frame: Frame, scene: Scene) -> None:
    """The pictures with their captions. Two modalities take a row of captions and one for what each says."""
    together = len(scene.keys) > 1
    side_px = PANE_PX - LEGEND_ROW_PX if together else PANE_PX
    shown = panes(frame, scene, side_px)
    if not shown:
        _no_picture(canvas)
        return
    for place, pane in enumerate(shown):
        left_x = MARGIN_PX + place * (PANE_PX + GAP_PX)
        canvas.image.paste(Image.fromarray(pane.shown), (left_x + (PANE_PX - side_px) // 2, PANES_Y))
        if pane.caption:
            _caption(canvas, left_x, PANES_Y + side_px + CAPTION_Y - PANES_Y - PANE_PX, pane.caption)
    if together:
        write(canvas.draw, (MARGIN_PX, CAPTION_Y), text.apart(frame.analysis), font(CAPTION_PX), WHITE)
    if any(pane.heat for pane in shown):
        _colour_bar(canvas, MARGIN_PX + PANE_PX + GAP_PX)


def _no_picture(canvas: _Canvas) -> None:
    box = (MARGIN_PX, PANES_Y, WIDTH_PX - MARGIN_PX, PANES_Y + PANE_PX)
    canvas.draw.rectangle(box, fill=PANE_GROUND)
    middle = (WIDTH_PX / 2, PANES_Y + PANE_PX / 2)
    write(
        canvas.draw, middle, "No picture of the analysed series can be shown", font(SUMMARY_PX), MUTED, "mm"
    )


def _caption(canvas: _Canvas, left_x: int, baseline_y: int, words: str) -> None:
    face = font(CAPTION_PX)
    write(canvas.draw, (left_x, baseline_y), shorten(words, face, PANE_PX), face, MUTED)


def _colour_bar(canvas: _Canvas, left_x: int) -> None:
    width, height = 132, 16
    face = font(CAPTION_PX)
    low = f"{HEAT_THRESHOLD:.2f}"
    write(canvas.draw, (left_x, CAPTION_Y), low, face, MUTED)
    x = left_x + round(face.getlength(low)) + 8
    canvas.image.paste(Image.fromarray(colour_bar(width, height)), (x, CAPTION_Y - height + 1))
    write(canvas.draw, (x + width + 8, CAPTION_Y), "max", face, MUTED)
    words = text.RELEVANCE_NOTICE
    write(canvas.draw, (left_x + PANE_PX, CAPTION_Y), words, face, WHITE, "rs")


def _facts(canvas: _Canvas, analysis: Analysis) -> None:
    """A row of labelled values; the last one, the models, takes the width that is left."""
    canvas.draw.line((MARGIN_PX, FACTS_Y, WIDTH_PX - MARGIN_PX, FACTS_Y), fill=RULE)
    x = MARGIN_PX
    prediction = text.deciding_prediction(analysis)
    if prediction is not None:
        _gauge(canvas, x, prediction.probabilities[text.TUMOUR], prediction.threshold)
        x += GAUGE_COLUMN_PX
    for label, value, width in _fact_columns(analysis):
        write(canvas.draw, (x, FACTS_Y + LABEL_DY), label, font(SMALL_PX), MUTED)
        _value(canvas, x, value, min(width - GAP_PX, WIDTH_PX - MARGIN_PX - x))
        x += width


def _value(canvas: _Canvas, left_x: int, value: str, width_px: int) -> None:
    """In one line, or two small ones where it is long."""
    face = fitted(value, VALUE_PX, width_px, bold=True, least_px=SMALL_PX)
    if face.getlength(value) <= width_px:
        write(canvas.draw, (left_x, FACTS_Y + VALUE_DY), value, face, WHITE)
        return
    for line, place_dy in zip(wrap(value, face, width_px, 2), SMALL_VALUES_DY, strict=False):
        write(canvas.draw, (left_x, FACTS_Y + place_dy), line, face, WHITE)


def _gauge(canvas: _Canvas, left_x: int, probability: float, threshold: float) -> None:
    """The probability as a number and on a scale with the threshold that it was held against."""
    face = font(VALUE_PX, True)
    label = f"Probability of tumour (threshold {text.percent(threshold)})"
    write(canvas.draw, (left_x, FACTS_Y + LABEL_DY), label, font(SMALL_PX), MUTED)
    write(canvas.draw, (left_x, FACTS_Y + VALUE_DY), text.percent(probability), face, WHITE)
    x, y = left_x + 118, FACTS_Y + VALUE_DY - 14
    canvas.draw.rectangle((x, y, x + GAUGE_PX, y + 9), fill=RULE)
    canvas.draw.rectangle((x, y, x + max(probability * GAUGE_PX, 2), y + 9), fill=WHITE)
    tick = x + threshold * GAUGE_PX
    canvas.draw.rectangle((tick - 1, y - 6, tick + 1, y + 15), fill=AMBER)


def _fact_columns(analysis: Analysis) -> list[tuple[str, str, int]]:
    """Label, value and width of each fact."""
    finding = text.main_finding(analysis)
    columns = [] if finding is None else [("Side and size", text.place_words(finding), 220)]
    triage = analysis.triage.value.capitalize()
    used = text.modalities_words(analysis)
    model = f"Model, on {used}" if used else "Model"
    return [*columns, ("Triage", triage, 130), (model, text.model_names(analysis) or "none", TEXT_WIDTH_PX)]


def _table(canvas: _Canvas, frame: Frame, top_y: int) -> None:
    """What was decided about each series, refused ones first, as many as there is room for."""
    ordered = sorted(frame.analysis.verdicts, key=lambda item: item.taken)
    if not ordered:
        return
    write(canvas.draw, (MARGIN_PX, top_y), "Series of this study", font(VALUE_PX, True), MUTED)
    y = top_y + 18
    for number, item in enumerate(ordered):
        reason = wrap(_decision(item), font(TABLE_PX), WIDTH_PX - MARGIN_PX - REASON_X, 2)
        height = 20 + TABLE_LINE_PX * len(reason)
        if y + height > FOOTER_Y - TABLE_LINE_PX - 20:
            rest = f"and {len(ordered) - number} more series"
            write(canvas.draw, (MARGIN_PX, y + 32), rest, font(TABLE_PX), MUTED)
            return
        _table_row(canvas, item, without_identity(item.description, frame.header), reason, y)
        y += height


def _decision(item: SeriesVerdict) -> str:
    return f"{'Taken' if item.taken else 'Refused'}: {item.reason.text}"


def _table_row(
    canvas: _Canvas, item: SeriesVerdict, description: str, reason: Sequence[str], top_y: int
) -> None:
    face, y = font(TABLE_PX), top_y + 31
    canvas.draw.line((MARGIN_PX, top_y, WIDTH_PX - MARGIN_PX, top_y), fill=RULE)
    write(canvas.draw, (MARGIN_PX, y), shorten(item.modality or "?", face, 60), face, MUTED)
    name_x = MARGIN_PX + 64
    name = shorten(description or "(no description)", face, REASON_X - name_x - GAP_PX)
    write(canvas.draw, (name_x, y), name, face, WHITE)
    for place, line in enumerate(reason):
        write(canvas.draw, (REASON_X, y + TABLE_LINE_PX * place), line, face, WHITE if item.taken else MUTED)


def _footer(canvas: _Canvas, frame: Frame) -> None:
    canvas.draw.rectangle((0, FOOTER_Y, WIDTH_PX, HEIGHT_PX), fill=AMBER_GROUND)
    middle_y = (FOOTER_Y + HEIGHT_PX) / 2
    write(canvas.draw, (MARGIN_PX, middle_y), text.RESEARCH_NOTICE, font(24, True), AMBER, "lm")
    made = f"neurotriage {frame.analysis.software_version} · {frame.made_at:%Y-%m-%d %H:%M %z}"
    write(canvas.draw, (WIDTH_PX - MARGIN_PX, middle_y), made, font(SMALL_PX), AMBER, "rm")
