"""The summary page: one picture that stands alone in a PACS that hides everything else.

A fixed grid on a viewer's dark ground: the verdict across the whole width (legible in a thumbnail), one
sentence, two panes, one row of facts, the research notice. No type is smaller than 18 px. No identity is
drawn: the archive shows it, and the picture may travel without it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from pydicom import Dataset

from neurotriage.core.evidence import SliceEvidence
from neurotriage.core.values import Analysis, Outcome, SeriesVerdict
from worker.results import picture, text
from worker.results.dataset import Frame
from worker.results.picture import Picture
from worker.results.scene import Scene, montage_slices
from worker.results.source import SourceSlice
from worker.results.typeface import fitted, font, shorten, wrap, write

WIDTH_PX, HEIGHT_PX = 1200, 960
MARGIN_PX, GAP_PX = 36, 24
PANE_PX = (WIDTH_PX - 2 * MARGIN_PX - GAP_PX) // 2
SLICE_PX = PANE_PX - 2 * 24  # leaves a rim for the orientation marks
TEXT_WIDTH_PX = WIDTH_PX - 2 * MARGIN_PX

# Baselines and edges of the rows, from the top.
HEADLINE_Y, SUMMARY_Y, PANES_Y = 112, 164, 222
CAPTION_Y = PANES_Y + PANE_PX + 30
FACTS_Y = CAPTION_Y + 22
FOOTER_Y = HEIGHT_PX - 48

HEADLINE_PX, REST_PX, SUMMARY_PX, VALUE_PX, SMALL_PX = 96, 37, 27, 25, 18
MARK_PX, CAPTION_PX, TABLE_PX = 24, 19, 21
LABEL_DY, VALUE_DY = 27, 58  # of the facts, below their rule
GAUGE_PX, GAUGE_COLUMN_PX = 210, 410
TABLE_LINE_PX, REASON_X = 28, MARGIN_PX + 424
MONTAGE_GAP_PX = 4

Colour = tuple[int, int, int]
GROUND: Colour = (13, 16, 20)
PANE_GROUND: Colour = (0, 0, 0)
RULE: Colour = (52, 60, 70)
WHITE: Colour = (240, 243, 246)
MUTED: Colour = (154, 164, 176)
AMBER: Colour = (255, 196, 84)
AMBER_GROUND: Colour = (52, 38, 8)
MID_GREY = 128.0  # what the colour bar is blended over

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


def without_identity(words: str, header: Dataset) -> str:
    """Free text of a header, the patient's names and id blanked should somebody have typed them there."""
    identity = (
        f"{header.get('PatientName', '')} {header.get('PatientID', '')} {header.get('OtherPatientIDs', '')}"
    )
    for part in sorted(set(re.split(r"[\s^=,\\\[\]']+", identity)), key=len, reverse=True):
        if len(part) >= 3:
            words = re.sub(re.escape(part), "...", words, flags=re.IGNORECASE)
    return words


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
    """The key slice, and beside it the same with overlay; where nothing was found, what was looked at."""
    key = scene.key
    pixels = None if key is None else scene.pixels(key)
    if key is None or pixels is None:
        _no_picture(canvas)
        return
    seen = None if frame.analysis.outcome is Outcome.ABSENT else scene.evidence.get(key.key)
    others = [] if seen else [(i, p) for i in montage_slices(scene) if (p := scene.pixels(i)) is not None]
    shown = [pixels, *(p for _, p in others)]
    window = scene.window(key)
    marked = np.zeros(pixels.shape, dtype=np.bool_) if seen is None else picture.marked(seen)
    box = picture.head_box(shown, key.modality, marked)
    grey = picture.grey(pixels, window)
    _pane(canvas, key, _fitted_slice(grey, key, box, SLICE_PX), MARGIN_PX)
    _caption(canvas, MARGIN_PX, _slice_words(key, frame.header))
    right_x = MARGIN_PX + PANE_PX + GAP_PX
    if seen:
        _pane(canvas, key, _fitted_slice(grey, key, box, SLICE_PX, seen), right_x)
        _colour_bar(canvas, right_x)
    else:
        side = (PANE_PX - 2 * MONTAGE_GAP_PX) // 3
        tiles = [_fitted_slice(picture.grey(p, window), i, box, side) for i, p in others]
        _montage(canvas, tiles, side, right_x)
        _caption(canvas, right_x, f"{len(tiles)} of the {key.count} slices of this series")


def _pane(canvas: _Canvas, image: SourceSlice, shown: Picture, left_x: int) -> None:
    _paste(canvas, shown, (left_x, PANES_Y), PANE_PX)
    _marks(canvas, image, (left_x, PANES_Y))


def _no_picture(canvas: _Canvas) -> None:
    box = (MARGIN_PX, PANES_Y, WIDTH_PX - MARGIN_PX, PANES_Y + PANE_PX)
    canvas.draw.rectangle(box, fill=PANE_GROUND)
    middle = (WIDTH_PX / 2, PANES_Y + PANE_PX / 2)
    write(
        canvas.draw, middle, "No picture of the analysed series can be shown", font(SUMMARY_PX), MUTED, "mm"
    )


def _fitted_slice(
    grey: Picture,
    image: SourceSlice,
    box: tuple[slice, slice],
    side_px: int,
    seen: SliceEvidence | None = None,
) -> Picture:
    """The part of a slice in ``box``, in true proportions, as large as a square of ``side_px`` allows."""
    part = grey[box]
    height_mm, width_mm = part.shape[0] * image.spacing_mm[0], part.shape[1] * image.spacing_mm[1]
    scale = side_px / max(height_mm, width_mm)
    shown = picture.resized(part, max(round(height_mm * scale), 1), max(round(width_mm * scale), 1))
    if seen is None:
        return shown
    return picture.with_outline(picture.with_heat(shown, seen.heat[box]), seen.mask[box], line_px=2)


def _paste(canvas: _Canvas, shown: Picture, corner: tuple[int, int], side_px: int) -> None:
    x, y = corner
    canvas.draw.rectangle((x, y, x + side_px - 1, y + side_px - 1), fill=PANE_GROUND)
    place = (x + (side_px - shown.shape[1]) // 2, y + (side_px - shown.shape[0]) // 2)
    canvas.image.paste(Image.fromarray(shown), place)


def _marks(canvas: _Canvas, image: SourceSlice, corner: tuple[int, int]) -> None:
    """The patient's directions at the four edges of a pane."""
    x, y = corner
    middle, inset = PANE_PX / 2, 8
    left, right, top, bottom = picture.orientation_marks(image.row_direction, image.column_direction)
    places = (
        (left, (x + inset, y + middle), "lm"),
        (right, (x + PANE_PX - inset, y + middle), "rm"),
        (top, (x + middle, y + inset), "mt"),
        (bottom, (x + middle, y + PANE_PX - inset), "mb"),
    )
    for letters, place, anchor in places:
        write(canvas.draw, place, letters, font(MARK_PX, True), AMBER, anchor, rim_px=2)


def _montage(canvas: _Canvas, tiles: Sequence[Picture], side_px: int, left_x: int) -> None:
    step = side_px + MONTAGE_GAP_PX
    for place, tile in enumerate(tiles):
        row, column = divmod(place, 3)
        _paste(canvas, tile, (left_x + column * step, PANES_Y + row * step), side_px)


def _slice_words(image: SourceSlice, header: Dataset) -> str:
    """Series and slice of the source, so that a reader finds the image."""
    description = without_identity(str(image.header.get("SeriesDescription", "")), header)
    series = f"Series {image.header.get('SeriesNumber', None) or '?'}"
    instance = image.header.get("InstanceNumber", None)
    stored = f"frame {image.frame}" if image.frame else f"image {instance}" if instance is not None else ""
    words = (image.modality, series, description, f"slice {image.number} of {image.count}", stored)
    return " · ".join(word for word in words if word)


def _caption(canvas: _Canvas, left_x: int, words: str) -> None:
    face = font(CAPTION_PX)
    write(canvas.draw, (left_x, CAPTION_Y), shorten(words, face, PANE_PX), face, MUTED)


def _colour_bar(canvas: _Canvas, left_x: int) -> None:
    """The heat map's colours as they look on tissue: blended over mid grey with the same opacity."""
    width, height = 132, 16
    values = np.linspace(picture.HEAT_THRESHOLD, 1.0, width)
    colours = (1 - picture.HEAT_ALPHA) * MID_GREY + picture.HEAT_ALPHA * picture.inferno(values)
    bar = np.repeat(colours.astype(np.uint8)[None], height, axis=0)
    face = font(CAPTION_PX)
    low = f"{picture.HEAT_THRESHOLD:.2f}"
    write(canvas.draw, (left_x, CAPTION_Y), low, face, MUTED)
    x = left_x + round(face.getlength(low)) + 8
    canvas.image.paste(Image.fromarray(bar), (x, CAPTION_Y - height + 1))
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
        width = min(width, WIDTH_PX - MARGIN_PX - x)
        face = font(VALUE_PX, True)
        write(canvas.draw, (x, FACTS_Y + LABEL_DY), label, font(SMALL_PX), MUTED)
        write(canvas.draw, (x, FACTS_Y + VALUE_DY), shorten(value, face, width - GAP_PX), face, WHITE)
        x += width


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
    return [*columns, ("Triage", triage, 130), ("Model", text.model_names(analysis) or "none", TEXT_WIDTH_PX)]


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
