"""The window that is applied to CT before the network, the same in training and at run time."""

import numpy as np
from numpy.typing import NDArray

# The usual brain window, in which nearly all published pictures of head CT are shown.
BRAIN_WINDOW_HU, BRAIN_LEVEL_HU = 80.0, 40.0


def brain_window(
    hounsfield: NDArray[np.generic], width_hu: float = BRAIN_WINDOW_HU, level_hu: float = BRAIN_LEVEL_HU
) -> NDArray[np.float32]:
    """Hounsfield units of any shape to float32 in 0..1 (DICOM PS3.3 C.11.2.1.3.2, LINEAR_EXACT)."""
    unit = (np.asarray(hounsfield, np.float32) - level_hu) / width_hu + 0.5
    result: NDArray[np.float32] = np.clip(unit, 0.0, 1.0)
    return result
