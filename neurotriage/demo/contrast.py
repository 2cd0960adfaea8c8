"""Tissue contrast: the signal of MR sequences, and Hounsfield units of CT."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from neurotriage.demo.head import Tissue
from neurotriage.demo.patient import Patient

Field = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Contrast:
    """Value of every tissue: arbitrary units for MR, HU for CT.

    ``texture`` is the deviation inside the solid tumour and, halved, in its necrosis.
    """

    grey: float
    white: float
    fluid: float
    rim: float
    necrosis: float
    oedema: float
    texture: float
    others: Mapping[Tissue, float]


T1_AFTER_CONTRAST: Final = Contrast(
    grey=450, white=640, fluid=170, rim=1010, necrosis=330, oedema=440, texture=70,
    others=MappingProxyType({
        Tissue.AIR: 0, Tissue.CSF: 190, Tissue.BONE: 60, Tissue.MARROW: 560, Tissue.FAT: 930,
        Tissue.SKIN: 620, Tissue.MUSCLE: 430, Tissue.VITREOUS: 160, Tissue.LENS: 330, Tissue.VESSEL: 1150,
        Tissue.DURA: 720, Tissue.MUCOSA: 820,
    }),
)  # fmt: skip
FLAIR: Final = Contrast(
    grey=520, white=400, fluid=70, rim=690, necrosis=520, oedema=900, texture=50,
    others=MappingProxyType({
        Tissue.AIR: 0, Tissue.CSF: 90, Tissue.BONE: 40, Tissue.MARROW: 300, Tissue.FAT: 640,
        Tissue.SKIN: 420, Tissue.MUSCLE: 270, Tissue.VITREOUS: 60, Tissue.LENS: 180, Tissue.VESSEL: 120,
        Tissue.DURA: 330, Tissue.MUCOSA: 700,
    }),
)  # fmt: skip
CT: Final = Contrast(
    grey=38, white=28, fluid=6, rim=50, necrosis=24, oedema=15, texture=4,
    others=MappingProxyType({
        Tissue.AIR: -1000, Tissue.CSF: 8, Tissue.BONE: 1350, Tissue.MARROW: 520, Tissue.FAT: -95,
        Tissue.SKIN: 35, Tissue.MUSCLE: 55, Tissue.VITREOUS: 8, Tissue.LENS: 75, Tissue.VESSEL: 55,
        Tissue.DURA: 50, Tissue.MUCOSA: 35,
    }),
)  # fmt: skip


def signal(patient: Patient, contrast: Contrast) -> Field:
    """The value of each voxel of the patient's grid, (x, y, z)."""
    by_tissue = np.zeros(len(Tissue), np.float32)
    for tissue, value in contrast.others.items():
        by_tissue[tissue] = value
    values = by_tissue[patient.tissue]
    grey = 1 - patient.fluid - patient.white
    brain = contrast.grey * grey + contrast.white * patient.white + contrast.fluid * patient.fluid
    np.copyto(values, brain, where=patient.tissue == Tissue.BRAIN)
    values += patient.oedema * (contrast.oedema - values)
    mass = (
        contrast.rim
        + patient.necrosis * (contrast.necrosis - contrast.rim)
        + contrast.texture * patient.texture * (1 - 0.5 * patient.necrosis)
    )
    return np.asarray(values + patient.tumour * (mass - values), np.float32)
