"""The summary page: one picture that suffices in a PACS which shows no other kind of result.

A fixed grid on a dark background: the outcome across the whole width (legible in a thumbnail), the summary,
two or three panes, a row of facts, the research notice. No type is smaller than 18 px. The patient's identity
is not drawn: the archive shows it, and a picture may be copied without it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from neurotriage.core.second_opinion import Opinion
from neurotriage.core.summary import Section
from neurotriage.core.values import Analysis, Outcome, ResultKind, SeriesVerdict
from neurotriage.core.wording import date_and_time
from worker.results.dataset import ResultContext
from worker.results.pictures.panes import COLOURS, Caption, legend_bar, panes, shown_slices
from worker.results.pictures.picture import Picture
from worker.results.pictures.typeface import fitted, font, shorten, wrap, write
from worker.results.sources.scene import Scene
from worker.results.wording import text
from worker.results.wording.free_text import without_identity

WIDTH_PX, HEIGHT_PX = 1200, 960
MARGIN_PX, GAP_PX = 36, 24
TEXT_WIDTH_PX = WIDTH_PX - 2 * MARGIN_PX

# Baselines and edges of the fixed rows, from the top; the panes take the space between them.
HEADLINE_Y, SUMMARY_Y = 112, 164
FOOTER_Y = HEIGHT_PX - 48
FACTS_Y = FOOTER_Y - 86
LEGEND_Y = FACTS_Y - 14

HEADLINE_PX, REST_PX, SUMMARY_PX, VALUE_PX, SMALL_PX = 96, 37, 26, 25, 18
CAPTION_PX, TABLE_PX, NOTE_PX = 19, 21, 20
IMPRESSION_LINES = 6  # more than any impression has
ROW_PX = 26  # a row of captions or of the legend
LABEL_DY, VALUE_DY, SMALL_VALUES_DY = 27, 58, (50, 72)  # of the facts, below the line above them
GAUGE_PX, GAUGE_COLUMN_PX = 180, 392
TABLE_LINE_PX, REASON_X = 28, MARGIN_PX + 424
SECOND_MODEL = "Second model, advice"
FEW_ROWS = 4  # up to this many rows of the table have room for long reasons

Colour = tuple[int, int, int]
GROUND: Colour = (13, 16, 20)
RULE: Colour = (52, 60, 70)
WHITE: Colour = (240, 243, 246)
MUTED: Colour = (154, 164, 176)
AMBER: Colour = (255, 196, 84)
OPINION: Colour = (122, 196, 255)
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


def page_picture(context: ResultContext, scene: Scene) -> Picture:
    """The summary page, uint8 RGB of shape (960, 1200, 3)."""
    analysis = context.analysis
    image = Image.new("RGB", (WIDTH_PX, HEIGHT_PX), GROUND)
    canvas = _Canvas(image, ImageDraw.Draw(image))
    summary = text.summary(analysis, context.claims)
    notes = without_identity(text.notes(analysis), context.header)
    bottom_y = _lines(canvas, summary, SUMMARY_PX, WHITE, SUMMARY_Y, 3 if analysis.outcome.analysed else 4)
    bottom_y = _lines(canvas, notes, NOTE_PX, AMBER, bottom_y, 3)
    words = context.words_of(ResultKind.PAGE)
    if words is not None and not analysis.outcome.analysed:
        impression = words.text_of(Section.IMPRESSION)
        bottom_y = _lines(canvas, impression, NOTE_PX, MUTED, bottom_y, IMPRESSION_LINES)
    _headline(canvas, analysis.outcome, bottom_y)
    if analysis.outcome.analysed:
        _panes(canvas, context, scene, bottom_y)
        _facts(canvas, analysis, None if words is None else words.opinion)
    else:
        _table(canvas, context, bottom_y + 24, FOOTER_Y - 20, "Series of this study")
    _footer(canvas, context)
    return np.asarray(image)


def _headline(canvas: _Canvas, outcome: Outcome, bottom_y: float) -> None:
    """The headline across the width, the rest of the phrase beside it in up to two lines.

    A coloured stripe on the left extends to ``bottom_y``.
    """
    verdict = text.verdict(outcome)
    accent = _ACCENTS.get(outcome, _UNANALYSED_ACCENT)
    canvas.draw.rectangle((0, 0, 11, bottom_y - 18), fill=accent)
    large, small = fitted(verdict.headline, HEADLINE_PX, TEXT_WIDTH_PX, bold=True), font(REST_PX, True)
    write(canvas.draw, (MARGIN_PX - 4, HEADLINE_Y), verdict.headline, large, accent)
    x = MARGIN_PX + large.getlength(verdict.headline) + GAP_PX
    lines = wrap(verdict.rest, small, WIDTH_PX - MARGIN_PX - x, 2)
    for place, line in enumerate(reversed(lines)):
        write(canvas.draw, (x, HEADLINE_Y - place * (REST_PX + 4)), line, small, accent)


def _lines(canvas: _Canvas, words: str, size_px: int, colour: Colour, baseline_y: float, most: int) -> float:
    """Draw text in at most ``most`` lines; returns the next baseline."""
    face = font(size_px)
    for line in wrap(words, face, TEXT_WIDTH_PX, most):
        write(canvas.draw, (MARGIN_PX, baseline_y), line, face, colour)
        baseline_y += size_px + 7
    return baseline_y


def _panes(canvas: _Canvas, context: ResultContext, scene: Scene, words_end_y: float) -> None:
    """The panes as large as the space allows, with captions and the colour scale."""
    top_y = round(words_end_y) - 12
    by_modality = text.highest_by_modality(context.analysis) if len(scene.keys) > 1 else ""
    count = max(len(shown_slices(context, scene)), 2)
    width_px = (TEXT_WIDTH_PX - (count - 1) * GAP_PX) // count
    captions = 3 if count > 2 else 2
    below_px = ROW_PX * (captions + 1 + bool(by_modality)) - 2
    side_px = min(width_px, LEGEND_Y - below_px - top_y)
    shown = panes(context, scene, side_px)
    if not shown:
        _table(canvas, context, top_y + 24, LEGEND_Y, "No picture can be shown. Series of this study")
        return
    for number, pane in enumerate(shown):
        left_x = MARGIN_PX + number * (width_px + GAP_PX)  # captions may be wider than their pictures
        canvas.image.paste(Image.fromarray(pane.shown), (left_x, top_y))
        _caption(canvas, (left_x, top_y + side_px + ROW_PX - 2), pane.caption, captions, width_px)
    if by_modality:
        write(canvas.draw, (MARGIN_PX, LEGEND_Y - ROW_PX), by_modality, font(CAPTION_PX), WHITE)
    if any(pane.heat for pane in shown):
        x = legend_bar(canvas.image, canvas.draw, (MARGIN_PX, LEGEND_Y), SMALL_PX, 100)
        write(
            canvas.draw,
            (x, LEGEND_Y),
            shorten(COLOURS, font(SMALL_PX), WIDTH_PX - MARGIN_PX - x),
            font(SMALL_PX),
            WHITE,
        )


def _caption(
    canvas: _Canvas, place: tuple[float, float], caption: Caption, lines: int, width_px: float
) -> None:
    """Title, slice and series. In two lines, the slice is written where there is room for it."""
    x, y = place
    bold, face = font(CAPTION_PX, True), font(CAPTION_PX)
    title = shorten(caption.title, bold, width_px)
    write(canvas.draw, (x, y), title, bold, WHITE)
    rows: tuple[str, ...] = (caption.place, caption.series)
    if lines == 2:
        x_place = x + bold.getlength(title) + 12
        if x_place + face.getlength(caption.place) <= x + width_px:
            write(canvas.draw, (x_place, y), caption.place, face, WHITE)
            rows = (caption.series,)
        else:
            rows = (" · ".join(filter(None, rows)),)
    for number, words in enumerate(rows, start=1):
        write(canvas.draw, (x, y + ROW_PX * number), shorten(words, face, width_px), face, MUTED)


def _facts(canvas: _Canvas, analysis: Analysis, opinion: Opinion | None) -> None:
    """A row of labelled values; the last, the models, takes the remaining width."""
    canvas.draw.line((MARGIN_PX, FACTS_Y, WIDTH_PX - MARGIN_PX, FACTS_Y), fill=RULE)
    x = MARGIN_PX
    prediction = text.deciding_prediction(analysis)
    if prediction is not None:
        _gauge(canvas, x, prediction.probabilities[text.TUMOUR], prediction.threshold, opinion)
        x += GAUGE_COLUMN_PX
    for label, value, width in _fact_columns(analysis, opinion):
        colour = OPINION if label == SECOND_MODEL else MUTED  # that of its mark on the scale
        write(canvas.draw, (x, FACTS_Y + LABEL_DY), label, font(SMALL_PX), colour)
        _value(canvas, x, value, min(width - GAP_PX, WIDTH_PX - MARGIN_PX - x))
        x += width


def _value(canvas: _Canvas, left_x: int, value: str, width_px: int) -> None:
    """One line, or two small ones for a long value."""
    face = fitted(value, VALUE_PX, width_px, bold=True, least_px=SMALL_PX)
    if face.getlength(value) <= width_px:
        write(canvas.draw, (left_x, FACTS_Y + VALUE_DY), value, face, WHITE)
        return
    for line, place_dy in zip(wrap(value, face, width_px, 2), SMALL_VALUES_DY, strict=False):
        write(canvas.draw, (left_x, FACTS_Y + place_dy), line, face, WHITE)


def _gauge(
    canvas: _Canvas, left_x: int, probability: float, threshold: float, opinion: Opinion | None
) -> None:
    """The probability as a number, and on a scale with the threshold; a hollow mark for a second opinion."""
    face = font(VALUE_PX, True)
    label = f"Probability of tumour ({text.beside_threshold(probability, threshold)})"
    write(canvas.draw, (left_x, FACTS_Y + LABEL_DY), label, font(SMALL_PX), MUTED)
    write(canvas.draw, (left_x, FACTS_Y + VALUE_DY), text.percent(probability), face, WHITE)
    x, y = left_x + 92, FACTS_Y + VALUE_DY - 14
    canvas.draw.rectangle((x, y, x + GAUGE_PX, y + 9), fill=RULE)
    canvas.draw.rectangle((x, y, x + max(probability * GAUGE_PX, 2), y + 9), fill=WHITE)
    tick = x + threshold * GAUGE_PX
    canvas.draw.rectangle((tick - 1, y - 6, tick + 1, y + 15), fill=AMBER)
    if opinion is not None and opinion.tumour is not None:
        mark = x + opinion.tumour * GAUGE_PX
        canvas.draw.ellipse((mark - 7, y - 3, mark + 7, y + 11), outline=OPINION, width=3)


def _fact_columns(analysis: Analysis, opinion: Opinion | None) -> list[tuple[str, str, int]]:
    """Label, value and width in pixels of each fact."""
    lesions, alike = text.lesions(analysis), text.mimic(analysis)
    columns = []
    if alike is not None:
        columns.append((text.MIMIC_NAME, text.percent(alike), 206))
    if len(lesions) == 1:
        columns.append(("Side and size", text.place_words(lesions[0]), 192))
    elif lesions:
        columns.append(("Lesions", f"{len(lesions)} outlined", 192))
    if opinion is not None:
        columns.append((SECOND_MODEL, text.opinion_words(opinion), 216))
    triage = analysis.triage.value.capitalize()
    used = text.modalities_words(analysis)
    model = f"Model, on {used}" if used else "Model"
    return [*columns, ("Triage", triage, 124), (model, text.model_names(analysis) or "none", TEXT_WIDTH_PX)]


def _table(canvas: _Canvas, context: ResultContext, top_y: float, bottom_y: float, title: str) -> None:
    """The verdicts of the series, refused ones first, as many as fit."""
    ordered = sorted(context.analysis.verdicts, key=lambda item: item.taken)
    if not ordered:
        return
    write(canvas.draw, (MARGIN_PX, top_y), title, font(VALUE_PX, True), MUTED)
    y, most = top_y + 18, 4 if len(ordered) <= FEW_ROWS else 2
    for number, item in enumerate(ordered):
        reason = wrap(_decision(item), font(TABLE_PX), WIDTH_PX - MARGIN_PX - REASON_X, most)
        height = 20 + TABLE_LINE_PX * len(reason)
        if y + height > bottom_y - TABLE_LINE_PX:
            rest = f"and {len(ordered) - number} more series"
            write(canvas.draw, (MARGIN_PX, y + 32), rest, font(TABLE_PX), MUTED)
            return
        _table_row(canvas, item, without_identity(item.description, context.header), reason, y)
        y += height


def _decision(item: SeriesVerdict) -> str:
    return f"{'Taken' if item.taken else 'Refused'}: {item.reason.text}"


def _table_row(
    canvas: _Canvas, item: SeriesVerdict, description: str, reason: Sequence[str], top_y: float
) -> None:
    face, y = font(TABLE_PX), top_y + 31
    canvas.draw.line((MARGIN_PX, top_y, WIDTH_PX - MARGIN_PX, top_y), fill=RULE)
    write(canvas.draw, (MARGIN_PX, y), shorten(item.modality or "?", face, 60), face, MUTED)
    name_x = MARGIN_PX + 64
    name = shorten(description or "(no description)", face, REASON_X - name_x - GAP_PX)
    write(canvas.draw, (name_x, y), name, face, WHITE)
    for place, line in enumerate(reason):
        write(canvas.draw, (REASON_X, y + TABLE_LINE_PX * place), line, face, WHITE if item.taken else MUTED)


def _footer(canvas: _Canvas, context: ResultContext) -> None:
    canvas.draw.rectangle((0, FOOTER_Y, WIDTH_PX, HEIGHT_PX), fill=AMBER_GROUND)
    middle_y = (FOOTER_Y + HEIGHT_PX) / 2
    write(canvas.draw, (MARGIN_PX, middle_y), text.RESEARCH_NOTICE, font(24, True), AMBER, "lm")
    made = f"neurotriage {context.analysis.software_version} · {date_and_time(context.made_at)}"
    write(canvas.draw, (WIDTH_PX - MARGIN_PX, middle_y), made, font(SMALL_PX), AMBER, "rm")
