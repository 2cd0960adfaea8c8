"""An overlay: a slice with the model's marks, and a margin with text and orientation letters around it.

Nothing is written over the anatomy. The picture therefore extends beyond the slice, by the margins of
``Layout``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from neurotriage.core.evidence import SliceEvidence
from neurotriage.core.values import Finding, OverlayStyle
from worker.results.dataset import ResultContext
from worker.results.pictures import picture
from worker.results.pictures.page import AMBER, WHITE
from worker.results.pictures.panes import NO_OUTLINE, legend_bar, marks_words, series_words, slice_words
from worker.results.pictures.picture import Picture
from worker.results.pictures.typeface import fitted, font, shorten, write
from worker.results.sources.scene import findings_on
from worker.results.sources.slices import SourceSlice
from worker.results.wording import text

MIN_SIDE_PX = 512  # smaller matrices are enlarged by a whole factor, so that the text is legible
TEXT_SHARE = 1 / 25  # type size as a share of the slice's shorter side: 20 px at 512, 10 px if shown at 256
LINE = 1.3  # height of a line in type sizes
SIDE_MARGIN, RIM = 2.0, 0.5  # in type sizes: left and right of the slice; around all text
LINES_ABOVE, LINES_BELOW = 5, 3  # of text, including the orientation letters


@dataclass(frozen=True, slots=True)
class Layout:
    """The size of an overlay in pixels, and the position of the slice in it."""

    factor: int  # by which the slice is enlarged
    rows: int  # of the enlarged slice
    columns: int
    size_px: float  # of the type

    @property
    def side_px(self) -> int:
        """The margin on the left of the slice, and on its right, in pixels."""
        return round(SIDE_MARGIN * self.size_px)

    @property
    def above_px(self) -> int:
        """The margin above the slice in pixels."""
        return round((LINE * LINES_ABOVE + RIM) * self.size_px)

    @property
    def height_px(self) -> int:
        """The height of the overlay in pixels."""
        return self.above_px + self.rows + round((LINE * LINES_BELOW + RIM) * self.size_px)

    @property
    def width_px(self) -> int:
        """The width of one slice with its margins in pixels."""
        return self.columns + 2 * self.side_px


def layout_of(image: SourceSlice) -> Layout:
    """The layout in pixels of a slice's overlay, which depends on the matrix alone."""
    rows, columns = int(image.header.Rows), int(image.header.Columns)
    factor = -(-MIN_SIDE_PX // min(rows, columns))  # rounded up
    return Layout(factor, rows * factor, columns * factor, min(rows, columns) * factor * TEXT_SHARE)


def overlay_picture(
    context: ResultContext,
    image: SourceSlice,
    grey: Picture,
    evidence: SliceEvidence | None,
    style: OverlayStyle,
) -> Picture:
    """The overlay of one slice, uint8 RGB of the size of ``layout_of``.

    ``grey``: the windowed slice (rows, columns, 3). ``evidence`` None marks nothing. In the style ``BOTH``
    the picture is twice as wide, with the unmarked slice on the left of the marked one.
    """
    layout = layout_of(image)
    plain = picture.resized(grey, layout.rows, layout.columns) if layout.factor > 1 else grey
    marked = plain
    if evidence is not None:
        if style is not OverlayStyle.OUTLINE:
            marked = picture.with_heat(marked, evidence.heat)
        marked = picture.with_outline(marked, evidence.mask, line_px=max(layout.size_px / 10, 1.5))
    parts = (plain, marked) if style is OverlayStyle.BOTH else (marked,)
    canvas = Image.new("RGB", (len(parts) * layout.width_px, layout.height_px))
    draw = ImageDraw.Draw(canvas)
    for number, part in enumerate(parts):
        left_px = number * layout.width_px
        canvas.paste(Image.fromarray(part), (left_px + layout.side_px, layout.above_px))
        _directions(draw, layout, image, left_px)
        if part is marked:
            _numbers(draw, layout, findings_on(context.analysis, image), left_px)
    _words(draw, layout, canvas.width, _lines(context, image, evidence, style))
    _legend(
        canvas,
        draw,
        layout,
        heat=style is not OverlayStyle.OUTLINE and evidence is not None and bool(evidence.heat.any()),
    )
    return np.asarray(canvas)


def _lines(
    context: ResultContext, image: SourceSlice, evidence: SliceEvidence | None, style: OverlayStyle
) -> tuple[str, str, str, str]:
    """Four lines: outcome; series; slice with its probability; lesions."""
    lesions = (f"lesion {f.lesion}: {text.place_words(f)}" for f in findings_on(context.analysis, image))
    marks = "nothing marked" if evidence is None else marks_words(evidence)
    if evidence is not None and style is OverlayStyle.OUTLINE and not evidence.mask.any():
        marks = f"{marks}, {NO_OUTLINE}"
    return (
        text.verdict(context.analysis.outcome).title,
        series_words(image, context.header),
        f"{slice_words(image)} · {marks}".capitalize(),
        " · ".join(lesions).capitalize(),
    )


def _words(draw: ImageDraw.ImageDraw, layout: Layout, width_px: int, lines: Sequence[str]) -> None:
    """Lines above the slice, in a smaller type where they would not fit."""
    inset, size = RIM * layout.size_px, layout.size_px
    for number, line in enumerate(lines):
        face = fitted(line, size, width_px - 2 * inset, bold=number == 0, least_px=0.7 * size)
        words = shorten(line, face, width_px - 2 * inset)
        write(draw, (inset, inset + size * (0.8 + LINE * number)), words, face, WHITE)


def _numbers(draw: ImageDraw.ImageDraw, layout: Layout, findings: Sequence[Finding], left_px: int) -> None:
    """Lesion numbers beside the outlines, if the slice has several lesions."""
    for finding in findings if len(findings) > 1 else ():
        _, top, right, _ = (layout.factor * edge for edge in finding.box)
        x = min(left_px + layout.side_px + right + 0.3 * layout.size_px, left_px + layout.width_px)
        face = font(layout.size_px, True)
        write(draw, (x, layout.above_px + top), str(finding.lesion), face, WHITE, rim_px=2)


def _directions(draw: ImageDraw.ImageDraw, layout: Layout, image: SourceSlice, left_px: int) -> None:
    """The orientation letters at the four edges of the slice."""
    left, right, top, bottom = picture.orientation_marks(image.row_direction, image.column_direction)
    middle_x, middle_y = left_px + layout.width_px / 2, layout.above_px + layout.rows / 2
    gap, face = 0.25 * layout.size_px, font(layout.size_px, True)
    below_px = layout.above_px + layout.rows
    for letters, place, anchor in (
        (left, (left_px + layout.side_px - gap, middle_y), "rm"),
        (right, (left_px + layout.width_px - layout.side_px + gap, middle_y), "lm"),
        (top, (middle_x, layout.above_px - gap), "ms"),
        (bottom, (middle_x, below_px + gap), "mt"),
    ):
        write(draw, place, letters, face, WHITE, anchor)


def _legend(canvas: Image.Image, draw: ImageDraw.ImageDraw, layout: Layout, *, heat: bool) -> None:
    """The colour scale and the notice below the slice."""
    size, inset = layout.size_px, RIM * layout.size_px
    notice_y = layout.height_px - inset
    if heat:
        colours_y = notice_y - LINE * size
        x = legend_bar(canvas, draw, (inset, colours_y), size, round(4 * size))
        width = canvas.width - inset - x
        face = fitted(text.RELEVANCE_NOTICE, size, width, least_px=0.7 * size)
        write(draw, (x, colours_y), shorten(text.RELEVANCE_NOTICE, face, width), face, WHITE)
    face = fitted(text.RESEARCH_NOTICE, size, canvas.width - 2 * inset, bold=True)
    write(draw, (inset, notice_y), text.RESEARCH_NOTICE, face, AMBER)
