"""Rendering of a slice: window, heat map, outline, orientation letters.

Pictures are uint8 RGB arrays of shape (rows, columns, 3).
"""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from neurotriage.core.evidence import SliceEvidence
from worker.imaging.head import head_mask

Picture = NDArray[np.uint8]

HEAT_CLEAR = 0.25  # heat map value (0..1) below which there is no colour
HEAT_FULL = 0.6  # heat map value from which the tint has its full strength
HEAT_FLATTENS = 0.35  # share by which a full tint reduces the contrast, to leave room for colour
CROP_MARGIN = 0.08  # margin around the head, as a share of its size
OBLIQUE = 0.35  # direction cosine (about 20 degrees) from which a second letter is shown

# Heat map value, red, green, blue. Colours tint but never cover: the grey beneath keeps its brightness, so a
# faint lesion remains visible. Violet to orange can be told apart with a colour vision deficiency.
_TINTS = np.array(
    [
        (HEAT_CLEAR, 70, 70, 235), (0.45, 170, 60, 215), (0.65, 225, 50, 120), (0.85, 250, 60, 30),
        (1.0, 255, 120, 0),
    ],
    dtype=np.float64,
)  # fmt: skip
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # of red, green, blue (ITU-R BT.601)


def grey(pixels: NDArray[np.float32], window: tuple[float, float]) -> Picture:
    """A slice (rows, columns) in true units as a picture; ``window``: the values shown black and white."""
    low, high = window
    scaled = np.clip((np.nan_to_num(pixels, nan=low) - low) / (high - low), 0.0, 1.0)
    return np.repeat((scaled * 255 + 0.5).astype(np.uint8)[..., None], 3, axis=2)


def resized(picture: Picture, rows: int, columns: int) -> Picture:
    """The picture (rows, columns, 3) on another grid over the same area, so that the outer edges agree."""
    image = Image.fromarray(picture).resize((columns, rows), Image.Resampling.BICUBIC)
    return np.asarray(image)


def tinted(grey: NDArray[np.floating], heat: NDArray[np.floating]) -> NDArray[np.float32]:
    """Colours 0..255 (..., 3) of grey values 0..255 (...) under a heat map 0..1 of the same shape.

    A value has the same tint on every slice of every study: none below ``HEAT_CLEAR``, full from
    ``HEAT_FULL``. The brightness is that of the grey value, moved to the middle to leave room for colour.
    """
    strength = np.clip((heat - HEAT_CLEAR) / (HEAT_FULL - HEAT_CLEAR), 0.0, 1.0).astype(np.float32)
    flat = HEAT_FLATTENS * strength
    brightness = (grey.astype(np.float32) * (1 - flat) + 127.5 * flat)[..., None]
    colours = np.stack([np.interp(heat, _TINTS[:, 0], _TINTS[:, k]) for k in (1, 2, 3)], axis=-1)
    away = (colours - (colours @ _LUMA)[..., None]).astype(np.float32)  # from grey of the same brightness
    room = np.where(away > 0, 255 - brightness, brightness) / np.maximum(np.abs(away), 1e-3)
    result: NDArray[np.float32] = brightness + away * np.minimum(room.min(-1), strength)[..., None]
    return result


def with_heat(picture: Picture, heat: NDArray[np.float16]) -> Picture:
    """A copy of a grey picture tinted by a heat map 0..1 (rows, columns) of any grid over the same area."""
    rows, columns = picture.shape[:2]
    coarse = Image.fromarray(np.nan_to_num(heat.astype(np.float32)), mode="F")
    fine = np.asarray(coarse.resize((columns, rows), Image.Resampling.BILINEAR))
    painted = picture.copy()
    places = np.nonzero(fine >= HEAT_CLEAR)
    if not len(places[0]):
        return painted
    part = tuple(_around(along, 0) for along in places)
    shown = fine[part] >= HEAT_CLEAR
    colours = tinted(picture[part][shown][:, 0].astype(np.float32), np.clip(fine[part][shown], 0.0, 1.0))
    painted[part][shown] = (colours + np.float32(0.5)).astype(np.uint8)
    return painted


def colour_bar(width_px: int, height_px: int) -> Picture:
    """The heat map's colours from 0 to 1 on middle grey, uint8 (height_px, width_px, 3)."""
    colours = tinted(np.full(width_px, 128.0), np.linspace(0.0, 1.0, width_px))
    return np.repeat((colours + np.float32(0.5)).astype(np.uint8)[None], height_px, axis=0)


def with_outline(picture: Picture, mask: NDArray[np.bool_], line_px: float) -> Picture:
    """The picture with the border of a mask: white with a black rim, just outside the lesion.

    ``mask`` (rows, columns) of any grid over the same area; ``line_px`` is the width of the white line.
    """
    if not mask.any():
        return picture
    rows, columns = picture.shape[:2]
    coarse = Image.fromarray(mask.astype(np.uint8) * 255)
    fine = np.asarray(coarse.resize((columns, rows), Image.Resampling.BILINEAR)) >= 128
    if not fine.any():
        fine = np.asarray(coarse.resize((columns, rows), Image.Resampling.NEAREST)) >= 128
    painted = picture.copy()
    near = tuple(_around(places, round(2 * line_px) + 1) for places in np.nonzero(fine))
    distance_px, part = ndimage.distance_transform_edt(~fine[near]), painted[near]
    part[(distance_px > 0) & (distance_px <= 2 * line_px)] = 0
    part[(distance_px > line_px / 2) & (distance_px <= 1.5 * line_px)] = 255
    return painted


def _around(places: NDArray[np.intp], margin_px: int) -> slice:
    return slice(max(int(places.min()) - margin_px, 0), int(places.max()) + margin_px + 1)


def orientation_marks(
    row_direction: NDArray[np.float64], column_direction: NDArray[np.float64]
) -> tuple[str, str, str, str]:
    """Letters (R L, A P, H F) for the left, right, top and bottom edge (PS3.3 C.7.6.1.1.1).

    Directions (3,) of increasing column and row index, in the patient coordinate system.
    """
    return (
        direction_letters(-row_direction),
        direction_letters(row_direction),
        direction_letters(-column_direction),
        direction_letters(column_direction),
    )


def direction_letters(direction: NDArray[np.float64]) -> str:
    """One letter for a direction (3,) in the patient coordinate system, or two, the larger component first.

    The second from a direction cosine of ``OBLIQUE``. The axes point to L, P and H (PS3.3 C.7.6.2.1.1).
    """
    letters = [
        (abs(part), positive if part > 0 else negative)
        for part, positive, negative in zip(direction, "LPH", "RAF", strict=True)
    ]
    letters.sort(reverse=True)
    second = letters[1][1] if letters[1][0] >= OBLIQUE else ""
    return letters[0][1] + second


def marked_pixels(evidence: SliceEvidence) -> NDArray[np.bool_]:
    """A mask (rows, columns) of the pixels with a mark: coloured by the heat map, or in the lesion mask."""
    return np.asarray(evidence.mask | (evidence.heat >= HEAT_CLEAR))


def head_box(
    slices: Sequence[NDArray[np.float32]], modality: str, also: NDArray[np.bool_]
) -> tuple[slice, slice]:
    """Rows and columns that contain the head on all given slices and the pixels ``also``, with a margin.

    ``slices`` and ``also`` (rows, columns); slices of another shape are ignored. The whole slice where no
    head is found and ``also`` is empty.
    """
    rows, columns = also.shape
    kept = also.copy()
    for pixels in slices:
        if pixels.shape == kept.shape:
            kept |= head_mask(pixels, modality)
    if not kept.any():
        return slice(0, rows), slice(0, columns)
    row_places, column_places = np.nonzero(kept)
    return _with_margin(row_places, rows), _with_margin(column_places, columns)


def _with_margin(places: NDArray[np.intp], length: int) -> slice:
    first, last = int(places.min()), int(places.max())
    margin = round(CROP_MARGIN * (last - first + 1))
    return slice(max(first - margin, 0), min(last + 1 + margin, length))


def png(picture: Picture) -> bytes:
    """The bytes of a PNG file, compressed quickly rather than well: a copy beside the DICOM object."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()
