"""The grey window in which a slice is shown."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from worker.imaging.head import head_mask

CT_WINDOW_HU = (0.0, 80.0)  # level 40, width 80: the usual brain window
MR_PERCENTILES = (1.0, 99.0)  # of the head's pixels
SAMPLE_PX = 10_000  # values of a slice that are looked at for its window
Window = tuple[float, float]  # the darkest and the brightest value shown, in true units


def window_of(modality: str, slices: Sequence[NDArray[np.float32]]) -> Window:
    """The darkest and the brightest value to show, in HU for CT, the same for all given slices.

    ``slices`` (rows, columns), in true units; (0, 1) where an MR without a head is given.
    """
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
