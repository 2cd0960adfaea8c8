"""Masses put into whole CT series, at known places: the same blob over neighbouring slices.

They stand apart from ``training.synthetic_ct.masses``, which draws on stored pictures of single slices: here
voxels are Hounsfield units, thicker than wide, and lengths are millimetres. Shapes and densities are drawn in
another way too, on purpose: a study rule is not to be chosen on the very masses that were trained on. The
formulas for tissue are the same (``training.synthetic_ct.tissue``).
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from neurotriage.core.volume import Volume
from training.synthetic_ct.masses import GRAIN_HU
from training.synthetic_ct.tissue import GRAIN_PX, grain, oedema_reach, ring, shift, without_fluid
from worker.imaging.head import largest_component
from worker.vision.slices.sections import BONE_HU, SOFT_HU, enclosed

KINDS = ("hyperdense", "hypodense", "ring", "mixed", "isodense")
HELD_MM = 6.0  # within which the brain is held by the skull
INSIDE_SHARE = 0.85  # of a mass that must lie in the brain
ATTEMPTS = 40
IN_PLANE = (0, GRAIN_PX, GRAIN_PX)  # slices are thick: nothing is smoothed across them
MIN_BRAIN_SHARE = 0.35  # of the largest section; a slice below it gets no mass's middle

Field = NDArray[np.float32]
Region = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Room:
    """Where in a series there is brain; arrays are (slices, rows, columns)."""

    brain: Region
    inside_mm: Field  # in-plane distance of each brain pixel to the skull
    spacing_mm: tuple[float, float, float]


def room_of(volume: Volume) -> Room:
    """Soft tissue with bone around it; where there is no bone, all soft tissue."""
    spacing_mm = (_step_mm(volume), *volume.pixel_spacing_mm)
    smooth = ndimage.gaussian_filter(np.asarray(volume.voxels), (0, 1, 1))
    soft = (smooth > SOFT_HU[0]) & (smooth < SOFT_HU[1])
    inside = np.stack([enclosed(slice_ > BONE_HU) for slice_ in volume.voxels])
    stripped = not inside.any()
    brain = np.stack([_piece(mask) for mask in (soft if stripped else soft & inside)])
    depth = [ndimage.distance_transform_edt(mask, sampling=volume.pixel_spacing_mm) for mask in brain]
    return Room(brain, np.stack(depth).astype(np.float32), spacing_mm)


def with_solid_mass(
    volume: Volume, room: Room, random: np.random.Generator, diameter_mm: float, kind: str
) -> tuple[Volume, Region] | None:
    """The series with one mass, and its voxels (slices, rows, columns); None where no place for it was found.

    ``kind`` is one of KINDS.
    """
    placed = _placed(room, random, diameter_mm)
    if placed is None:
        return None
    centre, level = placed
    region = (level > 0) & room.brain
    stored = np.asarray(volume.voxels)
    pushed = _pushed(stored, room, centre, diameter_mm / 2, random.uniform(0.15, 0.5))
    if kind == "isodense" or random.random() < 0.8:
        pushed = pushed - _oedema(stored, room, region, diameter_mm, random)
    noise = grain(stored, IN_PLANE, GRAIN_HU)
    base = float(np.median(stored[room.brain]))
    texture = _noise(random, level.shape, 3.0, room.spacing_mm) * random.uniform(0.5, 3.0)
    inner = base + _density_hu(kind, region, room.spacing_mm, random) + texture + noise
    edge = ndimage.gaussian_filter(region.astype(np.float32), (0, 0.8, 0.8)) * room.brain
    voxels = np.asarray(pushed * (1 - edge) + inner * edge, np.float32)
    return replace(volume, voxels=voxels), region


def _placed(
    room: Room, random: np.random.Generator, diameter_mm: float
) -> tuple[NDArray[np.float64], Field] | None:
    """Centre (mm along the axes) and level of a blob: 1 in its middle, 0 on its border."""
    section = room.brain.sum((1, 2))
    near = (room.inside_mm > 0.4 * diameter_mm) & (section > MIN_BRAIN_SHARE * section.max())[:, None, None]
    places = np.argwhere(near if near.any() else room.inside_mm > 0.7 * room.inside_mm.max())
    bumps = _noise(random, room.brain.shape, diameter_mm / 5, room.spacing_mm)
    grid = [np.arange(n) * mm for n, mm in zip(room.brain.shape, room.spacing_mm, strict=True)]
    for _ in range(ATTEMPTS):
        centre = places[int(random.integers(len(places)))] * np.array(room.spacing_mm)
        radii = diameter_mm / 2 * np.exp(random.normal(0, 0.12, 3))
        z, y, x = ((axis - c) / r for axis, c, r in zip(grid, centre, radii, strict=True))
        distance = np.sqrt(z[:, None, None] ** 2 + y[None, :, None] ** 2 + x[None, None, :] ** 2)
        level = 1 - distance + random.uniform(0.03, 0.15) * bumps
        level = np.where(distance < 1.6, level, -1).astype(np.float32)
        region = level > 0
        if region.any() and (region & room.brain).sum() > INSIDE_SHARE * region.sum():
            return centre, level
    return None


def _pushed(
    voxels: Field, room: Room, centre: NDArray[np.float64], radius_mm: float, strength: float
) -> Field:
    """Mass effect: tissue moves away from the centre, less with distance, not at the skull."""
    places = np.indices(voxels.shape, np.float32)
    spacing = np.array(room.spacing_mm, np.float32)[:, None, None, None]
    offset = places * spacing - centre.astype(np.float32)[:, None, None, None]
    distance = np.linalg.norm(offset, axis=0) + 1e-3
    shift_mm = shift(distance, radius_mm, 5, strength) * np.clip(room.inside_mm / HELD_MM, 0, 1)
    source = places - offset / distance * shift_mm / spacing
    moved: Field = ndimage.map_coordinates(voxels, source, order=1, mode="nearest", output=np.float32)
    return moved


def _oedema(
    voxels: Field, room: Room, region: Region, diameter_mm: float, random: np.random.Generator
) -> Field:
    """Hounsfield units taken from the tissue around, with fingers; fluid is spared."""
    width_mm = random.uniform(0.25, 0.6) * diameter_mm + 4
    away_mm = ndimage.distance_transform_edt(~region, sampling=room.spacing_mm)
    fingers = _noise(random, voxels.shape, 6.0, room.spacing_mm)
    tissue = without_fluid(voxels, room.brain, IN_PLANE, GRAIN_HU)
    reach = oedema_reach(away_mm, width_mm, fingers)
    halo = reach * tissue * np.clip((room.inside_mm - 4) / 5, 0, 1)
    return np.asarray(random.uniform(8, 15) * ndimage.gaussian_filter(halo, (0, 1, 1)), np.float32)


def _density_hu(
    kind: str, region: Region, spacing_mm: tuple[float, float, float], random: np.random.Generator
) -> Field:
    """Difference to the brain over the mass, Hounsfield units."""
    flat = np.ones(region.shape, np.float32)
    if kind == "hyperdense":
        return flat * random.uniform(9, 19)
    if kind == "hypodense":
        return -flat * random.uniform(9, 18)
    if kind == "isodense":
        return flat * random.uniform(-3, 5)
    if kind == "mixed":
        parts = _noise(random, region.shape, 6.0, spacing_mm) > random.uniform(-0.4, 0.4)
        return np.where(parts, random.uniform(6, 16), -random.uniform(6, 16)).astype(np.float32)
    depth_mm = ndimage.distance_transform_edt(region, sampling=spacing_mm)
    rim_mm, core, wall = random.uniform(3, 7), -random.uniform(10, 22), random.uniform(7, 17)
    return ring(depth_mm, rim_mm, 1.5, core, wall).astype(np.float32)


def _noise(
    random: np.random.Generator, shape: tuple[int, ...], grain_mm: float, spacing_mm: tuple[float, ...]
) -> Field:
    """Gaussian noise of a given grain, mean 0 and deviation 1."""
    sigma = [grain_mm / mm for mm in spacing_mm]
    field = ndimage.gaussian_filter(random.standard_normal(shape, np.float32), sigma, mode="wrap")
    return np.asarray(field / field.std(), np.float32)


def _piece(mask: Region) -> Region:
    """The largest piece of a slice, without its seam."""
    largest = largest_component(ndimage.binary_erosion(mask, iterations=2))
    result: Region = ndimage.binary_fill_holes(ndimage.binary_dilation(largest, iterations=2)) & mask
    return result


def _step_mm(volume: Volume) -> float:
    return float(np.median(np.linalg.norm(np.diff(volume.positions_mm, axis=0), axis=1)))
