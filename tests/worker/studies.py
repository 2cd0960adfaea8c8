"""Small studies with plausible pictures: a ball of a head with a skull and some texture."""

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from tests.imaging.made import ct_slice_of, slice_of

_SLICES, _MATRIX = 28, 160
_PIXEL_MM, _STEP_MM = 1.4, 5.0


def _distance_mm(number: int) -> NDArray[np.float64]:
    y, x = (np.mgrid[:_MATRIX, :_MATRIX] - (_MATRIX - 1) / 2) * _PIXEL_MM
    z_mm = _STEP_MM * (number - (_SLICES + 1) / 2)
    distance: NDArray[np.float64] = np.sqrt(x**2 + (0.9 * y) ** 2 + z_mm**2)
    return distance


def _texture() -> NDArray[np.float64]:
    y, x = np.mgrid[:_MATRIX, :_MATRIX]
    waves: NDArray[np.float64] = np.sin(x / 3) * np.cos(y / 4)
    return waves


def head_ct(**attributes: object) -> list[Dataset]:
    """Air at -1000, skull at 900, brain around 35 HU; stored values are HU + 1024."""
    made = []
    for number in range(1, _SLICES + 1):
        distance_mm = _distance_mm(number)
        head_hu = np.where(distance_mm < 72, 35 + 4 * _texture(), 900)
        stored = np.where(distance_mm < 80, head_hu, -1000) + 1024
        made.append(ct_slice_of(stored.astype(np.int16), number, **_header(attributes)))
    return made


def head_mr(**attributes: object) -> list[Dataset]:
    """A bright brain in a dark skull."""
    made = []
    for number in range(1, _SLICES + 1):
        distance_mm = _distance_mm(number)
        head = np.where(distance_mm < 72, 600 + 60 * _texture(), 150)
        stored = np.where(distance_mm < 80, head, 5)
        made.append(slice_of(stored.astype(np.int16), number, **_header(attributes)))
    return made


def _header(attributes: dict[str, object]) -> dict[str, object]:
    return {"PixelSpacing": [_PIXEL_MM, _PIXEL_MM], "BodyPartExamined": "HEAD", **attributes}
