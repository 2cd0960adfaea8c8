"""The square pictures that the summary page and the document show: slices as a reader wants to see them."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image, ImageDraw
from pydicom import Dataset

from neurotriage.core.evidence import SliceEvidence
from worker.results.dataset import Frame
from worker.results.pictures import picture
from worker.results.pictures.picture import Picture
from worker.results.pictures.typeface import font, write
from worker.results.scene import Scene, montage_slices
from worker.results.source import SourceSlice

MARK_SHARE = 24 / 552  # height of the orientation marks, and of the rim that is left for them
MONTAGE_GAP_PX = 4
Colour = tuple[int, int, int]
GROUND: Colour = (0, 0, 0)
MARKS: Colour = (255, 196, 84)

# Of names and ids in free text.
_SHORTEST_BLANKED: Final = 3
_SHORTEST_INSIDE: Final = 5  # letters; shorter names are blanked as words of their own only
_OF_ANY_HEAD: Final = frozenset({"head", "brain", "skull", "axial", "routine", "contrast"})


@dataclass(frozen=True, slots=True, eq=False)
class Pane:
    """A finished square picture, what it shows in words, and whether a heat map lies over it."""

    shown: Picture
    caption: str
    heat: bool = False


def panes(frame: Frame, scene: Scene, side_px: int) -> tuple[Pane, ...]:
    """Two panes, or none where no picture can be shown.

    One modality: the key slice, and beside it the same with heat map and outline, or else what was looked at.
    Two: the key slice of each, with heat map and outline.
    """
    if len(scene.keys) > 1:
        return tuple(pane for key in _by_modality(scene) for pane in _marked_pane(frame, scene, key, side_px))
    key = scene.key
    pixels = None if key is None else scene.pixels(key)
    if key is None or pixels is None:
        return ()
    seen = _seen(frame, scene, key)
    others = [] if seen else [(i, p) for i in montage_slices(scene) if (p := scene.pixels(i)) is not None]
    window = scene.window(key)
    box = picture.head_box([pixels, *(p for _, p in others)], key.modality, _marks_of(seen, pixels.shape))
    grey = picture.grey(pixels, window)
    left = Pane(_square(key, grey, box, side_px), slice_words(key, frame.header))
    if seen:
        return left, Pane(_square(key, grey, box, side_px, seen), "", heat=True)
    tile_px = (side_px - 2 * MONTAGE_GAP_PX) // 3
    tiles = [_fitted_slice(picture.grey(p, window), i, box, tile_px) for i, p in others]
    words = f"{len(tiles)} of the {key.count} slices of this series"
    return left, Pane(_montage(tiles, tile_px, side_px), words)


def slice_words(image: SourceSlice, header: Dataset) -> str:
    """Series and slice of the source, so that a reader finds the image."""
    description = without_identity(str(image.header.get("SeriesDescription", "")), header)
    series = f"Series {image.header.get('SeriesNumber', None) or '?'}"
    instance = image.header.get("InstanceNumber", None)
    stored = f"frame {image.frame}" if image.frame else f"image {instance}" if instance is not None else ""
    words = (image.modality, series, description, f"slice {image.number} of {image.count}", stored)
    return " · ".join(word for word in words if word)


def without_identity(words: str, header: Dataset) -> str:
    """Free text of a header, the patient's names and id blanked should somebody have typed them there.

    A name that every description of a head may hold tells nobody's while it stands there without the others.
    """
    identity = (
        f"{header.get('PatientName', '')} {header.get('PatientID', '')} {header.get('OtherPatientIDs', '')}"
    )
    parts = {part for part in re.split(r"[\s^=,\\\[\]']+", identity) if len(part) >= _SHORTEST_BLANKED}
    common = {part for part in parts if part.casefold() in _OF_ANY_HEAD}
    blanked = _blanked(words, parts - common)
    return blanked if blanked == words else _blanked(blanked, common)


def _blanked(words: str, parts: Iterable[str]) -> str:
    for part in sorted(parts, key=len, reverse=True):
        name = re.escape(part)
        # Letters of a short name stand in many a word: LAI in FLAIR.
        if part.isalpha() and len(part) < _SHORTEST_INSIDE:
            name = rf"(?<![^\W\d_]){name}(?![^\W\d_])"
        words = re.sub(name, "...", words, flags=re.IGNORECASE)
    return words


def colour_bar(width_px: int, height_px: int) -> Picture:
    """The heat map's colours as they look on tissue: blended over mid grey with the same opacity."""
    values = np.linspace(picture.HEAT_THRESHOLD, 1.0, width_px)
    colours = (1 - picture.HEAT_ALPHA) * _MID_GREY + picture.HEAT_ALPHA * picture.inferno(values)
    return np.repeat(colours.astype(np.uint8)[None], height_px, axis=0)


_MID_GREY = 128.0


def _by_modality(scene: Scene) -> list[SourceSlice]:
    return sorted(scene.keys, key=lambda image: image.modality)


def _marked_pane(frame: Frame, scene: Scene, key: SourceSlice, side_px: int) -> tuple[Pane, ...]:
    """A key slice with what the model saw there; nothing where it cannot be decoded."""
    pixels = scene.pixels(key)
    if pixels is None:
        return ()
    seen = _seen(frame, scene, key)
    box = picture.head_box([pixels], key.modality, _marks_of(seen, pixels.shape))
    grey = picture.grey(pixels, scene.window(key))
    words = slice_words(key, frame.header)
    return (Pane(_square(key, grey, box, side_px, seen), words, heat=seen is not None),)


def _seen(frame: Frame, scene: Scene, image: SourceSlice) -> SliceEvidence | None:
    return scene.evidence.get(image.key) if frame.analysis.outcome.marked else None


def _marks_of(seen: SliceEvidence | None, shape: tuple[int, ...]) -> "np.typing.NDArray[np.bool_]":
    return np.zeros(shape, dtype=np.bool_) if seen is None else picture.marked(seen)


def _square(
    image: SourceSlice,
    grey: Picture,
    box: tuple[slice, slice],
    side_px: int,
    seen: SliceEvidence | None = None,
) -> Picture:
    """The slice in the middle of a black square, the patient's directions at its edges."""
    mark_px = round(side_px * MARK_SHARE)
    canvas = Image.new("RGB", (side_px, side_px), GROUND)
    _paste(canvas, _fitted_slice(grey, image, box, side_px - 2 * mark_px, seen), (0, 0), side_px)
    middle, inset = side_px / 2, mark_px / 3
    left, right, top, bottom = picture.orientation_marks(image.row_direction, image.column_direction)
    draw, face = ImageDraw.Draw(canvas), font(mark_px, True)
    for letters, place, anchor in (
        (left, (inset, middle), "lm"),
        (right, (side_px - inset, middle), "rm"),
        (top, (middle, inset), "mt"),
        (bottom, (middle, side_px - inset), "mb"),
    ):
        write(draw, place, letters, face, MARKS, anchor, rim_px=2)
    return np.asarray(canvas)


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


def _montage(tiles: Sequence[Picture], tile_px: int, side_px: int) -> Picture:
    canvas = Image.new("RGB", (side_px, side_px), GROUND)
    step = tile_px + MONTAGE_GAP_PX
    for place, tile in enumerate(tiles):
        row, column = divmod(place, 3)
        _paste(canvas, tile, (column * step, row * step), tile_px)
    return np.asarray(canvas)


def _paste(canvas: Image.Image, shown: Picture, corner: tuple[int, int], side_px: int) -> None:
    x, y = corner
    place = (x + (side_px - shown.shape[1]) // 2, y + (side_px - shown.shape[0]) // 2)
    canvas.paste(Image.fromarray(shown), place)
