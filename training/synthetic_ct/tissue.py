"""How a mass changes the tissue in it and around it: the formulas that slices and whole series share.

Lengths are in any one unit (pixels on slices, millimetres in series), densities likewise (grey, Hounsfield).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import expit

Field = NDArray[np.floating[Any]]
Region = NDArray[np.bool_]
Smoothing = float | tuple[float, ...]  # deviation in pixels, along all axes or along each

GRAIN_PX = 1.2  # in-plane, below which differences between pixels are grain
FINGERS, STEEPNESS = 0.4, 5  # of the border of oedema


def grain(picture: Field, smoothing: Smoothing, limit: float) -> Field:
    """The noise of a picture, which a mass keeps; larger differences are structure and left out."""
    fine = picture - ndimage.gaussian_filter(picture, smoothing)
    return np.where(np.abs(fine) < limit, fine, 0)


def without_fluid(picture: Field, brain: Region, smoothing: Smoothing, limit: float) -> Region:
    """Where tissue is, and not fluid: no darker than the brain's median by more than a limit."""
    smooth = ndimage.gaussian_filter(picture, smoothing)
    tissue: Region = smooth > np.median(smooth[brain]) - limit
    return tissue


def shift(distance: Field, radius: float, margin: float, strength: float) -> Field:
    """Mass effect: how far tissue moves away at a distance from the centre, less and less outside."""
    reach = np.exp(-np.maximum(distance - radius, 0) / (1.2 * radius + margin))
    moved: Field = strength * np.minimum(distance, radius) * reach
    return moved


def oedema_reach(outside: Field, width: float, noise: Field) -> Field:
    """How much oedema there is, 0..1, at a distance outside a mass: a halo with fingers."""
    reach: Field = expit((1 - outside / width + FINGERS * noise) * STEEPNESS)
    return reach


def ring(depth: Field, rim: float, steepness: float, core: float, wall: float) -> Field:
    """Densities of a mass with a dark core in a bright wall, by depth below its surface."""
    shell = expit((rim - depth) * steepness)
    density: Field = shell * (wall - core) + core
    return density
