"""How a stored slice is turned into the view in which the network was trained, and back.

Radiological view: axial with the front up and the patient's right on the left of the image, coronal with
the head up, sagittal with the face to the left. An oblique slice goes by its nearest plane.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurotriage.core.values import Plane
from neurotriage.core.volume import Volume

# Patient directions (LPS) of the view: to the right of the image, down the image.
VIEWS = {
    Plane.AXIAL: (np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0])),
    Plane.CORONAL: (np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, -1.0])),
    Plane.SAGITTAL: (np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, -1.0])),
}


@dataclass(frozen=True, slots=True)
class Display:
    """A turn by quarters or a mirroring: swap rows and columns first, then reverse either of them."""

    swap: bool
    flip_rows: bool
    flip_columns: bool

    def show(self, stored: NDArray[Any]) -> NDArray[Any]:
        """From the stored grid (..., rows, columns) to the view, without a copy."""
        image = stored.swapaxes(-1, -2) if self.swap else stored
        return self._flip(image)

    def restore(self, shown: NDArray[Any]) -> NDArray[Any]:
        """The exact inverse of ``show``, without a copy."""
        image = self._flip(shown)
        return image.swapaxes(-1, -2) if self.swap else image

    def spacing_mm(self, stored: tuple[float, float]) -> tuple[float, float]:
        """Pixel spacing in the view from that as ``stored``; both between rows, then between columns."""
        return (stored[1], stored[0]) if self.swap else stored

    def _flip(self, image: NDArray[Any]) -> NDArray[Any]:
        rows = slice(None, None, -1 if self.flip_rows else 1)
        columns = slice(None, None, -1 if self.flip_columns else 1)
        return image[..., rows, columns]


def display_of(volume: Volume) -> Display:
    """How the slices of ``volume`` are brought into the view of its plane."""
    right, down = VIEWS[volume.plane]
    across, along = volume.row_direction, volume.column_direction
    straight = abs(across @ right) + abs(along @ down)
    swapped = abs(across @ down) + abs(along @ right)
    swap = bool(swapped > straight)
    if swap:
        across, along = along, across
    return Display(swap, flip_rows=bool(along @ down < 0), flip_columns=bool(across @ right < 0))
