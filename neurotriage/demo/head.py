"""The demo's head: a brain template with a synthetic skull, scalp and face around it."""

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

ASSETS: Final = Path(__file__).with_name("assets")
HEAD_FILE: Final = ASSETS / "head.npz"


class Tissue(IntEnum):
    """The tissue of a voxel."""

    AIR = 0
    BRAIN = 1  # grey or white matter or cerebrospinal fluid, as the T1 of the template says
    CSF = 2
    BONE = 3  # compact
    MARROW = 4
    FAT = 5
    SKIN = 6
    MUSCLE = 7
    VITREOUS = 8
    LENS = 9
    VESSEL = 10
    DURA = 11
    MUCOSA = 12


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """Tissues on a regular grid.

    ``tissue`` (x, y, z) holds ``Tissue``; ``t1`` (x, y, z) the T1-weighted signal of the template, 0 to 255,
    0 outside the brain. Voxel (i, j, k) lies at ``origin_mm + spacing_mm * (i, j, k)`` in the template's
    space (RAS): x to the patient's right, y to the front, z to the top.
    """

    tissue: NDArray[np.uint8]
    t1: NDArray[np.uint8]
    origin_mm: tuple[float, float, float]
    spacing_mm: float


def load_head() -> Head:
    """The head that comes with the package."""
    with np.load(HEAD_FILE, allow_pickle=False) as stored:
        x, y, z = (float(value) for value in stored["origin_mm"])
        return Head(
            tissue=stored["tissue"],
            t1=stored["t1"],
            origin_mm=(x, y, z),
            spacing_mm=float(stored["spacing_mm"]),
        )
