"""Where the head is on a slice, and the largest connected part of a mask.

Three questions, each with a threshold of its own: what differs from the air at the border, whatever the
units (``unlike_border``: the network's box and the sections of a volume); what is brighter than air on one
slice (``head_mask``: windows and crops of pictures); and the largest object of a slice once its threshold is
known (``largest_object``: facts about pixels).
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# Between air (-1000 HU) and fat (-100 HU).
BODY_HU: Final = -300.0
# Share of the range above the background at which tissue begins.
TISSUE_LEVEL: Final = 0.12
# Of an MR slice's bright end, above which a pixel belongs to the head and not to air.
_HEAD_SIGNAL: Final = 0.1
_BRIGHT_PERCENTILE: Final = 99.0
_HEAD_MATRIX_PX: Final = 128  # on about this many rows or columns the head is looked for


def largest_component(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected part of a mask (rows, columns), edge to edge; empty where the mask is empty.

    Of several that are equally large, the one that begins in the uppermost row.
    """
    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    largest: NDArray[np.bool_] = labels == 1 + int(np.bincount(labels.ravel())[1:].argmax())
    return largest


def largest_object(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """``largest_component`` with its holes filled."""
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(largest_component(mask))
    return filled


def unlike_border(images: NDArray[np.float32], min_level: float = 0.0) -> NDArray[np.bool_]:
    """Pixels of images (..., rows, columns) that differ from the grey level at the border of all of them.

    For any units, bright on dark or dark on bright. ``min_level``, in those units: where tissue would begin
    below it, nothing stands out.
    """
    border = np.concatenate(
        [images[..., 0, :], images[..., -1, :], images[..., :, 0], images[..., :, -1]], axis=-1
    )
    distance = np.abs(images - np.percentile(border, 25))
    level = TISSUE_LEVEL * float(np.percentile(distance, 99.5))
    unlike: NDArray[np.bool_] = distance > level if level >= min_level else np.zeros(images.shape, np.bool_)
    return unlike


def head_mask(pixels: NDArray[np.float32], modality: str) -> NDArray[np.bool_]:
    """The head on a slice (rows, columns): the largest connected bright region, its holes filled.

    Empty where nothing is bright. ``pixels`` are Hounsfield units of CT, or signal of MR. Looked for on every
    n-th pixel where the matrix is large: for windows and crops, not for measuring.
    """
    step = max(round(min(pixels.shape) / _HEAD_MATRIX_PX), 1)
    finite = np.nan_to_num(pixels[::step, ::step])
    level = BODY_HU if modality == "CT" else _HEAD_SIGNAL * float(np.percentile(finite, _BRIGHT_PERCENTILE))
    largest = largest_component(ndimage.binary_fill_holes(finite > level))
    rows, columns = pixels.shape
    return largest.repeat(step, axis=0).repeat(step, axis=1)[:rows, :columns]
