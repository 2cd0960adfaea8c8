"""Phantoms: drawn studies of any geometry, with analyses that are known to be right.

For the test of a destination, the conformance statement, benchmarks and tests.
"""

from neurotriage.phantom.analysis import INSTALLATION, MODEL_SHA256, make_analysis, make_fused_analysis
from neurotriage.phantom.study import (
    AXIAL,
    CORONAL,
    FLIPPED,
    LESION_CENTRE_MM,
    OBLIQUE,
    SAGITTAL,
    STUDIES,
    TILTED,
    Made,
    make_pair,
    make_study,
)

__all__ = [
    "AXIAL",
    "CORONAL",
    "FLIPPED",
    "INSTALLATION",
    "LESION_CENTRE_MM",
    "MODEL_SHA256",
    "OBLIQUE",
    "SAGITTAL",
    "STUDIES",
    "TILTED",
    "Made",
    "make_analysis",
    "make_fused_analysis",
    "make_pair",
    "make_study",
]
