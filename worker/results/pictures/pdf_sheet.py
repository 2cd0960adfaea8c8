"""Sheets of A4 that are filled from the top, each with the notice above and the same lines at its foot."""

from collections.abc import Sequence
from functools import cache
from typing import Final

from reportlab.lib.colors import Color, HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.utils import simpleSplit
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

from worker.results.pictures.typeface import FONTS, drawable
from worker.results.wording import text

WIDTH_PT, HEIGHT_PT = A4
MARGIN_PT, GAP_PT = 48.0, 14.0
INNER_PT = WIDTH_PT - 2 * MARGIN_PT
FOOTER_PT = 62.0
BODY_END_PT = FOOTER_PT + 24  # the lowest baseline above the footer
TOP_PT = HEIGHT_PT - 110  # below the notice, with room for the first line
LEADING: Final = 1.4  # from line to line, in sizes of the type
_BOX_PT: Final = 12.0  # between the edge of a box and its words

REGULAR, BOLD = "Inter", "Inter-SemiBold"
INK, MUTED, RULE = HexColor("#16202b"), HexColor("#5b6875"), HexColor("#d3d9df")
AMBER, AMBER_GROUND, BOX_GROUND = HexColor("#7a4b00"), HexColor("#fdf1d8"), HexColor("#eef3f7")


@cache
def register_fonts() -> None:
    """Make the typeface known to reportlab."""
    for name, file in ((REGULAR, "Inter-Regular.ttf"), (BOLD, "Inter-SemiBold.ttf")):
        pdfmetrics.registerFont(TTFont(name, str(FONTS / file)))


def lines_of(words: str, size_pt: float, width_pt: float = INNER_PT, font: str = REGULAR) -> list[str]:
    """The words in lines of at most this width."""
    lines: list[str] = simpleSplit(drawable(words), font, size_pt, width_pt)
    return lines


def height_pt(words: str, size_pt: float, width_pt: float = INNER_PT) -> float:
    """The height that the words take in this width."""
    return len(lines_of(words, size_pt, width_pt)) * LEADING * size_pt


def box_pt(words: str, size_pt: float) -> float:
    """The height of a box with a heading and these words, and of the space around it."""
    return height_pt(words, size_pt, INNER_PT - 2 * _BOX_PT) + 16 + 1.6 * _BOX_PT + 6


class Sheet:
    """``y`` is the next baseline, in points from the bottom edge; a full sheet is followed by another."""

    def __init__(self, canvas: Canvas, footer: Sequence[str]) -> None:
        self.canvas = canvas
        self._footer = footer
        self._number = 1
        self.y = HEIGHT_PT - 40
        self._banner()

    def need(self, height: float) -> None:
        """Go on with the next sheet where this one has less room."""
        if self.y - height < BODY_END_PT:
            self._foot(f"Page {self._number}, continued")
            self.canvas.showPage()
            self._number += 1
            self.y = HEIGHT_PT - 40
            self._banner()

    def finish(self) -> None:
        """Write the foot of the last sheet."""
        self._foot(f"Page {self._number} of {self._number}" if self._number > 1 else "")
        self.canvas.showPage()

    def write(
        self, words: str, size_pt: float, font: str = REGULAR, colour: Color = INK, x: float = MARGIN_PT
    ) -> None:
        """One line at ``y``, which stays."""
        self.canvas.setFont(font, size_pt)
        self.canvas.setFillColor(colour)
        self.canvas.drawString(x, self.y, drawable(words))

    def wrapped(
        self,
        words: str,
        size_pt: float,
        x: float = MARGIN_PT,
        font: str = REGULAR,
        colour: Color = INK,
        most: int | None = None,
    ) -> None:
        """Text from ``x`` to the right margin. Beyond ``most`` lines it is cut with an ellipsis."""
        split = lines_of(words, size_pt, WIDTH_PT - MARGIN_PT - x, font)
        if most is not None and len(split) > most:
            split = [*split[: most - 1], split[most - 1].rstrip() + " …"]
        for line in split:
            self.need(0)
            self.write(line, size_pt, font, colour, x)
            self.y -= LEADING * size_pt

    def heading(self, words: str, below_pt: float) -> None:
        """A heading that stays with the ``below_pt`` points of text after it."""
        self.y -= 8
        self.need(16 + below_pt)
        self.write(words, 10.5, BOLD)
        self.y -= 16

    def boxed(self, heading: str, words: str, size_pt: float) -> None:
        """A tinted box with heading and text, which is not split; more than a sheet holds has no box."""
        height = box_pt(words, size_pt) - 6
        if height > TOP_PT - BODY_END_PT:
            self.heading(heading, height)
            self.wrapped(words, size_pt)
            return
        self.y -= 6
        self.need(height)
        self.canvas.setFillColor(BOX_GROUND)
        top = self.y + size_pt
        self.canvas.roundRect(MARGIN_PT, top - height, INNER_PT, height, 6, stroke=0, fill=1)
        self.y -= _BOX_PT - 3
        self.write(heading, 10.5, BOLD, x=MARGIN_PT + _BOX_PT)
        self.y -= 16
        for line in lines_of(words, size_pt, INNER_PT - 2 * _BOX_PT):
            self.write(line, size_pt, x=MARGIN_PT + _BOX_PT)
            self.y -= LEADING * size_pt
        self.y = top - height - size_pt - 6

    def rule(self, above_pt: float) -> None:
        """A line across the sheet, so far above the next baseline."""
        self.canvas.setStrokeColor(RULE)
        self.canvas.line(MARGIN_PT, self.y + above_pt, WIDTH_PT - MARGIN_PT, self.y + above_pt)

    def _banner(self) -> None:
        self.canvas.setFillColor(AMBER_GROUND)
        self.canvas.rect(0, self.y - 12, WIDTH_PT, 60, stroke=0, fill=1)
        self.write("AI head triage", 10, BOLD, AMBER)
        self.canvas.drawRightString(WIDTH_PT - MARGIN_PT, self.y, text.RESEARCH_NOTICE)
        self.y -= 56

    def _foot(self, page: str) -> None:
        self.y = FOOTER_PT
        self.rule(14)
        for number, words in enumerate(self._footer):
            self.write(words, 8, REGULAR, MUTED)
            if number == 0:
                self.canvas.drawRightString(WIDTH_PT - MARGIN_PT, self.y, page)
            self.y -= 12
