"""Text on pictures in Inter (SIL Open Font Licence, ``fonts/OFL.txt``): measured, wrapped and shortened."""

import re
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from PIL import ImageDraw, ImageFont

FONTS = Path(__file__).parent / "fonts"
_ELLIPSIS = "…"
# Characters in the shipped fonts; others (kanji in a series description) become question marks.
_DRAWABLE = (range(0x20, 0x7F), range(0xA0, 0x180), range(0x384, 0x3CF), range(0x400, 0x460))
_PUNCTUATION = "–—‘’“”•…−€"


_WORD = re.compile(r"(?:[\d.<>-]+ (?:mm|%)|\S)\S*")


class _RememberingFont(ImageFont.FreeTypeFont):
    """Caches drawn text: most lines of a study's pictures are the same, and rims are slow to draw."""

    def __init__(self, *how: Any, **choices: Any) -> None:
        super().__init__(*how, **choices)
        self.getmask2 = lru_cache(maxsize=256)(self.getmask2)  # type: ignore[method-assign, assignment]


@cache
def font(size_px: float, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Inter at a size in pixels, in Pillow's basic layout, which gives the same pixels on every machine."""
    name = "Inter-SemiBold.ttf" if bold else "Inter-Regular.ttf"
    return _RememberingFont(FONTS / name, size_px, layout_engine=ImageFont.Layout.BASIC)


def drawable(text: str) -> str:
    """The text as one line, with a question mark for each character that the fonts lack."""
    flat = " ".join(text.split())
    return "".join(c if c in _PUNCTUATION or any(ord(c) in r for r in _DRAWABLE) else "?" for c in flat)


def shorten(text: str, face: ImageFont.FreeTypeFont, width_px: float) -> str:
    """The text as one line, or as much of its beginning as fits ``width_px``, with an ellipsis."""
    text = drawable(text)
    if face.getlength(text) <= width_px:
        return text
    while text and face.getlength(text + _ELLIPSIS) > width_px:
        text = text[:-1]
    return text.rstrip() + _ELLIPSIS


def wrap(text: str, face: ImageFont.FreeTypeFont, width_px: float, max_lines: int) -> list[str]:
    """The text in at most ``max_lines`` lines of ``width_px`` pixels; an ellipsis ends one that is too long.

    A number is not separated from its unit; empty for an empty text.
    """
    lines: list[str] = []
    words = _WORD.findall(drawable(text))
    while words and len(lines) < max_lines - 1:
        line = words.pop(0)
        while words and face.getlength(f"{line} {words[0]}") <= width_px:
            line = f"{line} {words.pop(0)}"
        lines.append(shorten(line, face, width_px))
    if words:
        lines.append(shorten(" ".join(words), face, width_px))
    return lines


def fitted(
    text: str, size_px: float, width_px: float, bold: bool = False, least_px: float = 0.0
) -> ImageFont.FreeTypeFont:
    """The font of ``size_px``, or a smaller one in which the text fits ``width_px`` pixels.

    Not smaller than ``least_px``, in which the text may be too wide.
    """
    text = drawable(text)
    length = font(size_px, bold).getlength(text)
    if length <= width_px:
        return font(size_px, bold)
    size = int(size_px * width_px / length)
    # Widths are not proportional to the size, because glyphs are hinted.
    while size > max(least_px, 1) and font(size, bold).getlength(text) > width_px:
        size -= 1
    return font(max(size, least_px), bold)


def write(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    face: ImageFont.FreeTypeFont,
    colour: tuple[int, int, int],
    anchor: str = "ls",
    rim_px: int = 0,
) -> None:
    """Draw one line at ``place`` (x, y) in pixels; a black rim of ``rim_px`` keeps it legible on any picture.

    ``anchor``: as of Pillow; by default left end and baseline.
    """
    draw.text(
        place, drawable(text), fill=colour, font=face, anchor=anchor, stroke_width=rim_px, stroke_fill="black"
    )
