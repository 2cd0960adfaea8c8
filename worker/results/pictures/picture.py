"""A slice as a reader wants to see it: windowed, with heat map, outline and orientation marks.

Pictures are uint8 RGB arrays of shape (rows, columns, 3).
"""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from neurotriage.core.evidence import SliceEvidence

Picture = NDArray[np.uint8]

HEAT_ALPHA = 0.6  # opacity of the heat map where it is shown
HEAT_THRESHOLD = 0.35  # share of the maximum below which the heat map is clear
CT_WINDOW_HU = (0.0, 80.0)  # level 40, width 80: the usual brain window
MR_PERCENTILES = (1.0, 99.0)  # of the head's pixels
SAMPLE_PX = 10_000  # values of a slice that are looked at for its window
HEAD_SIGNAL = 0.1  # share of the bright end above which a pixel belongs to the head and not to air
HEAD_MATRIX_PX = 128  # on about this many rows or columns the head is looked for
CROP_MARGIN = 0.08  # air left around the head, as a share of its size
OBLIQUE = 0.35  # direction cosine (about 20 degrees) from which a second letter is shown

# Inferno (S. van der Walt, N. Smith, CC0): perceptually uniform, monotone in lightness.
_INFERNO = np.array(
    [
        (0, 0, 4), (11, 7, 36), (33, 12, 74), (61, 9, 101), (87, 16, 110), (113, 25, 110), (138, 34, 106),
        (163, 44, 97), (188, 55, 84), (210, 70, 68), (228, 90, 49), (241, 115, 29), (249, 142, 9),
        (252, 172, 17), (249, 203, 53), (242, 234, 105), (252, 255, 164),
    ],
    dtype=np.float64,
)  # fmt: skip


_COLOURS = np.stack(
    [
        np.interp(np.linspace(0, 1, 1024), np.linspace(0, 1, len(_INFERNO)), _INFERNO[:, channel])
        for channel in range(3)
    ],
    axis=-1,
).astype(np.float32)


def window_of(modality: str, slices: Sequence[NDArray[np.float32]]) -> tuple[float, float]:
    """The darkest and the brightest value to show, the same for all given slices."""
    if modality == "CT":
        return CT_WINDOW_HU
    heads = [_thinned(pixels[head_mask(pixels, modality)]) for pixels in slices]
    values = np.concatenate([np.zeros(0, dtype=np.float32), *heads])
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, MR_PERCENTILES)
    return float(low), float(max(high, low + 1e-6))


def _thinned(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Enough of a slice's values for percentiles."""
    return values[:: max(len(values) // SAMPLE_PX, 1)]


def grey(pixels: NDArray[np.float32], window: tuple[float, float]) -> Picture:
    """The slice in grey, as RGB."""
    low, high = window
    scaled = np.clip((np.nan_to_num(pixels, nan=low) - low) / (high - low), 0.0, 1.0)
    return np.repeat((scaled * 255 + 0.5).astype(np.uint8)[..., None], 3, axis=2)


def resized(picture: Picture, rows: int, columns: int) -> Picture:
    """The picture on another grid over the same area, pixel edges on pixel edges."""
    image = Image.fromarray(picture).resize((columns, rows), Image.Resampling.BICUBIC)
    return np.asarray(image)


def inferno(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Colours 0..255, shape (..., 3), of values 0..1, in 1024 steps."""
    return _COLOURS[(values * (len(_COLOURS) - 1) + 0.5).astype(np.intp)]


def with_heat(picture: Picture, heat: NDArray[np.float16]) -> Picture:
    """Blend a heat map (0..1, any grid over the same area): clear below the threshold."""
    rows, columns = picture.shape[:2]
    coarse = Image.fromarray(np.nan_to_num(heat.astype(np.float32)), mode="F")
    fine = np.asarray(coarse.resize((columns, rows), Image.Resampling.BILINEAR))
    painted = picture.copy()
    places = np.nonzero(fine >= HEAT_THRESHOLD)
    if not len(places[0]):
        return painted
    part = tuple(_around(along, 0) for along in places)
    shown = fine[part] >= HEAT_THRESHOLD
    colours = inferno(np.clip(fine[part][shown], 0.0, 1.0))
    blended = np.float32(1 - HEAT_ALPHA) * picture[part][shown] + np.float32(HEAT_ALPHA) * colours
    painted[part][shown] = (blended + np.float32(0.5)).astype(np.uint8)
    return painted


def with_outline(picture: Picture, mask: NDArray[np.bool_], line_px: float) -> Picture:
    """Draw the border of a mask: white, on a black rim, just outside the lesion."""
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
    """Letters for left, right, top and bottom edge (PS3.3 C.7.6.1.1.1): R L, A P, H F of the patient."""
    return (
        direction_letters(-row_direction),
        direction_letters(row_direction),
        direction_letters(-column_direction),
        direction_letters(column_direction),
    )


def direction_letters(direction: NDArray[np.float64]) -> str:
    """One letter, or two for an oblique direction, strongest first. Patient axes are L, P, H."""
    letters = [
        (abs(part), positive if part > 0 else negative)
        for part, positive, negative in zip(direction, "LPH", "RAF", strict=True)
    ]
    letters.sort(reverse=True)
    second = letters[1][1] if letters[1][0] >= OBLIQUE else ""
    return letters[0][1] + second


def head_mask(pixels: NDArray[np.float32], modality: str) -> NDArray[np.bool_]:
    """The head on a slice: the largest connected bright region, its holes filled; may be empty.

    Found on every n-th pixel where the matrix is large: it is for windows and frames, not for measuring.
    """
    step = max(round(min(pixels.shape) / HEAD_MATRIX_PX), 1)
    finite = np.nan_to_num(pixels[::step, ::step])
    level = -300.0 if modality == "CT" else HEAD_SIGNAL * float(np.percentile(finite, MR_PERCENTILES[1]))
    labels, count = ndimage.label(ndimage.binary_fill_holes(finite > level))
    if not count:
        return np.zeros(pixels.shape, dtype=np.bool_)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    largest: NDArray[np.bool_] = labels == sizes.argmax()
    rows, columns = pixels.shape
    return largest.repeat(step, axis=0).repeat(step, axis=1)[:rows, :columns]


def marked(seen: SliceEvidence) -> NDArray[np.bool_]:
    """The pixels that carry a mark: heat map above its threshold, or lesion mask."""
    return np.asarray(seen.mask | (seen.heat >= HEAT_THRESHOLD))


def head_box(
    slices: Sequence[NDArray[np.float32]], modality: str, also: NDArray[np.bool_]
) -> tuple[slice, slice]:
    """Rows and columns that hold the head on all given slices, and ``also`` these pixels, with a margin.

    Everything, if nothing is seen.
    """
    rows, columns = also.shape
    held = also.copy()
    for pixels in slices:
        if pixels.shape == held.shape:
            held |= head_mask(pixels, modality)
    if not held.any():
        return slice(0, rows), slice(0, columns)
    row_places, column_places = np.nonzero(held)
    return _with_margin(row_places, rows), _with_margin(column_places, columns)


def _with_margin(places: NDArray[np.intp], length: int) -> slice:
    first, last = int(places.min()), int(places.max())
    margin = round(CROP_MARGIN * (last - first + 1))
    return slice(max(first - margin, 0), min(last + 1 + margin, length))


def png(picture: Picture) -> bytes:
    """The picture as a PNG file, packed fast rather than tight: it lies beside the DICOM object."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()
