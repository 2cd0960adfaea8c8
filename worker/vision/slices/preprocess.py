"""From grey slices in any units to the network's input and back, the same in training and at run time.

Intensity: each slice is scaled by percentiles inside the head's box, so absolute values do not count.
Geometry: one box around the head, square in millimetres, for a slice or for a whole volume; with the box
alone a map is brought back onto the source's pixel grid.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

from worker.imaging.head import largest_component, unlike_border

INPUT_PX = 128
COARSE_PX = 96  # longest side of the small copy on which the head is located
SMALLEST_RANGE = 1e-6  # in the slice's own units; a box with less contrast is blank
BOX_MARGIN = 0.04  # on each side, as a share of the head's longest side
RANGE_PERCENTILES = (1.0, 99.7)  # of the box's pixels; they become 0 and 1


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of source pixels, end exclusive; it may reach beyond the image (filled with background)."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def width_px(self) -> int:
        return self.x1 - self.x0

    @property
    def height_px(self) -> int:
        return self.y1 - self.y0


def head_box(pixels: NDArray[np.generic], spacing_mm: tuple[float, float] = (1.0, 1.0)) -> Box:
    """The square (in mm) around the head in a slice (rows, columns) or a volume (slices, rows, columns).

    The head is the largest connected region that differs from the border's grey level; a flat or empty
    image gives the whole frame. ``spacing_mm`` is between rows, between columns (PixelSpacing order).
    """
    return head_box_of_parts([pixels if pixels.ndim == 3 else pixels[None]], spacing_mm)


def head_box_of_parts(
    parts: Iterable[NDArray[np.generic]], spacing_mm: tuple[float, float] = (1.0, 1.0)
) -> Box:
    """``head_box`` of a volume in parts (slices, rows, columns), of which one at a time is in memory.

    Raises ValueError where there is no part.
    """
    brightest: NDArray[np.float32] | None = None
    for part in parts:
        rows, columns = part.shape[-2:]
        coarse, step_y, step_x = _coarse(_finite(part))
        brightest = coarse if brightest is None else np.maximum(brightest, coarse)
    if brightest is None:
        raise ValueError("no slice to look for a head in")
    bounds = _bounds_of_head(brightest)
    if bounds is None:
        return _square(0.0, 0.0, float(columns), float(rows), spacing_mm, margin=0.0)
    y, x = bounds
    return _square(
        x.start * step_x, y.start * step_y, x.stop * step_x, y.stop * step_y, spacing_mm, BOX_MARGIN
    )


def network_inputs(slices: NDArray[np.generic], box: Box, input_px: int = INPUT_PX) -> NDArray[np.float32]:
    """Slices (N, rows, columns) in any units to (N, 1, S, S) float32 in 0..1, each slice scaled alone."""
    crops = _crop(torch.from_numpy(_finite(slices)), box)
    squares = functional.interpolate(crops[:, None], (input_px, input_px), mode="bilinear", antialias=True)
    return np.stack([_scaled(square) for square in squares.numpy()]).astype(np.float32)


def network_input(pixels: NDArray[np.generic], box: Box, input_px: int = INPUT_PX) -> NDArray[np.float32]:
    """One slice (rows, columns) in any units to (1, S, S) float32 in 0..1."""
    result: NDArray[np.float32] = network_inputs(np.asarray(pixels)[None], box, input_px)[0]
    return result


def to_source(maps: NDArray[np.floating], box: Box, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Maps (N, h, w) over the network's input to the source's grid (N, rows, columns); 0 outside the box."""
    small = torch.from_numpy(np.ascontiguousarray(maps, dtype=np.float32))[:, None]
    crop = functional.interpolate(small, (box.height_px, box.width_px), mode="bilinear", align_corners=False)[
        :, 0
    ]
    rows, columns = shape
    y0, y1 = max(box.y0, 0), min(box.y1, rows)
    x0, x1 = max(box.x0, 0), min(box.x1, columns)
    result = np.zeros((len(maps), rows, columns), np.float32)
    if y0 < y1 and x0 < x1:
        result[:, y0:y1, x0:x1] = crop[:, y0 - box.y0 : y1 - box.y0, x0 - box.x0 : x1 - box.x0].numpy()
    return result


def mask_input(mask: NDArray[np.generic], box: Box, input_px: int = INPUT_PX) -> NDArray[np.float32]:
    """A mask (rows, columns) on the network's grid: (S, S), share of each pixel that is covered, 0..1."""
    crop = _crop(torch.from_numpy(_finite(mask))[None], box, background=0.0)
    square = functional.interpolate(crop[:, None], (input_px, input_px), mode="bilinear", antialias=True)
    result: NDArray[np.float32] = square[0, 0].numpy()
    return result


def _finite(pixels: NDArray[np.generic]) -> NDArray[np.float32]:
    return np.nan_to_num(np.ascontiguousarray(pixels, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)


def _coarse(volume: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, float]:
    """Largest value along the slices of a small, averaged copy; with source pixels per coarse pixel."""
    rows, columns = volume.shape[1:]
    factor = max(1.0, max(rows, columns) / COARSE_PX)
    size = (max(1, round(rows / factor)), max(1, round(columns / factor)))
    small = functional.interpolate(torch.from_numpy(volume)[:, None], size, mode="area")[:, 0]
    return small.amax(0).numpy(), rows / size[0], columns / size[1]


def _bounds_of_head(image: NDArray[np.float32]) -> tuple[slice, slice] | None:
    """Rows and columns of the largest connected region that differs from the border; None without one."""
    region = largest_component(ndimage.binary_opening(unlike_border(image, SMALLEST_RANGE)))
    regions = ndimage.find_objects(region.astype(int))
    return (regions[0][0], regions[0][1]) if regions else None


def _square(
    x0: float, y0: float, x1: float, y1: float, spacing_mm: tuple[float, float], margin: float
) -> Box:
    row_mm, column_mm = spacing_mm
    side_mm = max((x1 - x0) * column_mm, (y1 - y0) * row_mm) * (1 + 2 * margin)
    width, height = max(1, round(side_mm / column_mm)), max(1, round(side_mm / row_mm))
    left, top = round((x0 + x1 - width) / 2), round((y0 + y1 - height) / 2)
    return Box(left, top, left + width, top + height)


def _crop(slices: torch.Tensor, box: Box, background: float | None = None) -> torch.Tensor:
    """(N, rows, columns) to (N, height, width); beyond the image ``background``, or each slice's minimum."""
    rows, columns = slices.shape[1:]
    y0, y1 = max(box.y0, 0), min(box.y1, rows)
    x0, x1 = max(box.x0, 0), min(box.x1, columns)
    inside = slices[:, y0:y1, x0:x1]
    if (y1 - y0, x1 - x0) == (box.height_px, box.width_px):
        return inside
    fill = inside.flatten(1).amin(1) if background is None else torch.full((len(slices),), background)
    result = fill[:, None, None].repeat(1, box.height_px, box.width_px)
    result[:, y0 - box.y0 : y1 - box.y0, x0 - box.x0 : x1 - box.x0] = inside
    return result


def _scaled(square: NDArray[np.float32]) -> NDArray[np.float32]:
    low, high = np.percentile(square, RANGE_PERCENTILES)
    if high - low < SMALLEST_RANGE:
        return np.zeros_like(square)
    result: NDArray[np.float32] = np.clip((square - low) / (high - low), 0.0, 1.0)
    return result
