"""Whole CT series to choose the study rule on: no real tumour volume could be had.

Healthy are the template volumes as another person's scan would show them (deformed, tilted, in slices of
a scanner, with its noise), and the patients of the split ``val`` whose slices show no bleed. Into each a
mass is put, in several sizes and densities. Patients with a bleed are look-alikes.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from neurotriage.core.values import Plane, SliceSource
from neurotriage.core.volume import Volume
from training.data.manifest import Row, grey_images
from training.data.volumes import read_rows, read_volume
from training.synthetic_ct.solid_masses import KINDS, room_of, with_solid_mass
from worker.vision.slices.window import BRAIN_LEVEL_HU, BRAIN_WINDOW_HU

HEALTHY, MASS, BLEED = "healthy", "mass", "bleed"
SEED = 31_000  # training and held-apart slices are drawn from other seeds
VARIANTS = {"ct_template_head": 8, "ct_template_brain_only": 2}  # scans of each template
DIAMETERS_MM = (12.0, 16.0, 20.0, 26.0, 34.0, 42.0, 50.0)
MASSES_EACH = 3  # made of each healthy series
PATIENTS = {"brainstroke-normal": HEALTHY, "brainstroke-bleed": BLEED}
PATIENT_SPAN_MM = 90.0  # their slices are of the upper 60 % of a head
PATIENT_STEP_MM = 12.0  # at most
PATIENT_WIDTH_MM = 240.0  # field of view
MIN_SLICES = 5

MATRIX, PIXEL_MM = 160, 1.4
STEP_MM = (2.5, 5.0)
TILT_DEG, ZOOM, BENT_MM = 9.0, 0.035, 2.5  # deviations
BENDS = 17  # points along each axis on which the deformation is drawn
NOISE_HU, NOISE_PX = (2.0, 6.0), (0.4, 1.0)
OUTSIDE_HU = -1000.0
BONE_FREE_HU, STRIPPED_HU = -500.0, 4.0  # without anything darker there is no air; brain lies above


@dataclass(frozen=True, slots=True, eq=False)
class CtSeries:
    """One series and what is in it."""

    name: str
    kind: str  # HEALTHY, MASS or BLEED
    diameter_mm: float  # of the mass; 0 without one
    volume: Volume


def ct_series(rows: Sequence[Row], volumes: Path) -> Iterator[CtSeries]:
    """All series of the templates in ``volumes`` (split "train") and of the patients in ``rows``."""
    random = np.random.default_rng(SEED)
    number = 0
    for kind, name, volume in (*_templates(volumes, random), *_patients(rows)):
        yield CtSeries(name, kind, 0.0, volume)
        if kind != HEALTHY:
            continue
        room = room_of(volume)
        for _ in range(MASSES_EACH):
            diameter_mm = DIAMETERS_MM[number % len(DIAMETERS_MM)]
            density = KINDS[number % len(KINDS)]
            number += 1
            made = with_solid_mass(volume, room, random, diameter_mm, density)
            if made is not None:
                yield CtSeries(f"{name} {density} {diameter_mm:.0f} mm", MASS, diameter_mm, made[0])


def _templates(volumes: Path, random: np.random.Generator) -> Iterator[tuple[str, str, Volume]]:
    for row in read_rows(volumes):
        name = row.path.name.split(".")[0]
        if row.modality == "CT" and row.split == "train" and name in VARIANTS:
            whole = in_air(read_volume(row))
            for number in range(VARIANTS[name]):
                scanned = with_noise(scan(whole, random), random)
                yield HEALTHY, f"{name} scan {number + 1}, {scanned.thickness_mm:.1f} mm", scanned


def in_air(volume: Volume) -> Volume:
    """The volume with air around it; a brain taken out of its head is stored with 0 there."""
    stored = np.asarray(volume.voxels)
    if stored.min() < BONE_FREE_HU:
        return volume
    inside = np.stack([ndimage.binary_fill_holes(slice_ > STRIPPED_HU) for slice_ in stored])
    return replace(volume, voxels=np.where(inside, stored, OUTSIDE_HU).astype(np.float32))


def scan(whole: Volume, random: np.random.Generator) -> Volume:
    """Another person's head in a scanner's slices, from the lower end of the volume or from the skull base.

    Positions are in the scanner's frame; tilt and deformation are the person's.
    """
    step_mm = float(random.uniform(*STEP_MM))
    sizes_mm = np.array(whole.voxels.shape) * [_step_mm(whole), *whole.pixel_spacing_mm]
    start_mm = sizes_mm[0] * random.uniform(-0.5, -0.22)
    heights_mm = np.arange(start_mm, sizes_mm[0] / 2 + step_mm, step_mm)
    across_mm = (np.arange(MATRIX) - (MATRIX - 1) / 2) * PIXEL_MM
    zoom: NDArray[np.float64] = np.exp(random.normal(0, ZOOM, 3))
    turn = _turn(np.deg2rad(random.normal(0, (TILT_DEG, TILT_DEG / 3, TILT_DEG / 2))))
    bends = [ndimage.gaussian_filter(random.normal(size=(BENDS,) * 3), 2.5) for _ in range(3)]
    bends = [bend / bend.std() * BENT_MM for bend in bends]
    slices = [
        np.mean(
            [_plane(whole, height + part * step_mm, across_mm, turn / zoom, bends) for part in (-0.25, 0.25)],
            axis=0,
        )
        for height in heights_mm
    ]
    corner = [float(across_mm[0]), float(across_mm[0])]
    positions = np.array([[*corner, height] for height in heights_mm])
    return _volume(np.stack(slices), positions, (PIXEL_MM, PIXEL_MM), step_mm)


def with_noise(volume: Volume, random: np.random.Generator) -> Volume:
    """The grain of a reconstruction kernel."""
    deviation, grain_px = random.uniform(*NOISE_HU), random.uniform(*NOISE_PX)
    noise = ndimage.gaussian_filter(
        random.standard_normal(volume.voxels.shape, np.float32), (0, grain_px, grain_px)
    )
    return replace(volume, voxels=np.asarray(volume.voxels) + deviation * noise / noise.std())


def _plane(
    whole: Volume,
    height_mm: float,
    across_mm: NDArray[np.floating],
    matrix: NDArray[np.float64],
    bends: Sequence[NDArray[np.float64]],
) -> NDArray[np.float32]:
    y, x = np.meshgrid(across_mm, across_mm, indexing="ij")
    points = np.stack([np.full(y.shape, height_mm), y, x])
    turned = np.tensordot(matrix, points, 1)
    spacing = np.array([_step_mm(whole), *whole.pixel_spacing_mm])[:, None, None]
    middle = (np.array(whole.voxels.shape)[:, None, None] - 1) / 2
    places = turned / spacing + middle
    coarse = places / (2 * middle) * (BENDS - 1)
    shifts = np.stack([ndimage.map_coordinates(bend, coarse, order=1, mode="nearest") for bend in bends])
    result: NDArray[np.float32] = ndimage.map_coordinates(
        np.asarray(whole.voxels), places + shifts / spacing, order=1, cval=OUTSIDE_HU, output=np.float32
    )
    return result


def _turn(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation about left-right, front-back and foot-head, for points (z, y, x)."""
    (a, b, c), (p, q, r) = np.cos(angles), np.sin(angles)
    about_x = np.array([[a, -p, 0], [p, a, 0], [0, 0, 1]])
    about_y = np.array([[b, 0, -q], [0, 1, 0], [q, 0, b]])
    about_z = np.array([[1, 0, 0], [0, c, -r], [0, r, c]])
    result: NDArray[np.float64] = about_x @ about_y @ about_z
    return result


def _patients(rows: Sequence[Row]) -> Iterator[tuple[str, str, Volume]]:
    stacks: dict[tuple[str, str], list[tuple[int, NDArray[np.float32]]]] = defaultdict(list)
    for row in rows:
        if row.source in PATIENTS:
            number = int(re.findall(r"\d+", row.path.stem)[-1])
            stacks[row.source, row.group] += [(number, hounsfield(grey)) for _, grey in grey_images(row)]
    for (source, group), slices in stacks.items():
        if len(slices) >= MIN_SLICES:
            yield PATIENTS[source], group, _stacked(sorted(slices, key=lambda numbered: numbered[0]))


def hounsfield(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A picture in the brain window (rows, columns) as Hounsfield units: black around is air, white bone."""
    unit = grey.astype(np.float32) / 255
    values = (unit - 0.5) * BRAIN_WINDOW_HU + BRAIN_LEVEL_HU
    black, _ = ndimage.label(grey < 8)
    edge = np.unique(np.concatenate([black[0], black[-1], black[:, 0], black[:, -1]]))
    air = np.isin(black, edge[edge > 0])
    return np.where(air, OUTSIDE_HU, np.where(grey > 245, 1000.0, values)).astype(np.float32)


def _stacked(slices: Sequence[tuple[int, NDArray[np.float32]]]) -> Volume:
    numbers = np.array([number for number, _ in slices])
    step_mm = min(PATIENT_STEP_MM, PATIENT_SPAN_MM / max(int(numbers[-1] - numbers[0]), 1))
    rows, columns = (max(grey.shape[axis] for _, grey in slices) for axis in (0, 1))
    voxels = np.full((len(slices), rows, columns), OUTSIDE_HU, np.float32)
    for index, (_, grey) in enumerate(slices):
        voxels[index, : grey.shape[0], : grey.shape[1]] = grey
    spacing_mm = PATIENT_WIDTH_MM / max(rows, columns)
    positions = np.array([[0.0, 0.0, step_mm * (number - numbers[0])] for number in numbers])
    gaps = np.diff(positions[:, 2])
    return _volume(voxels, positions, (spacing_mm, spacing_mm), float(np.median(gaps)))


def _volume(
    voxels: NDArray[np.floating],
    positions_mm: NDArray[np.float64],
    spacing_mm: tuple[float, float],
    thickness_mm: float,
) -> Volume:
    return Volume(
        series_instance_uid="",
        modality="CT",
        description="",
        voxels=np.asarray(voxels, np.float32),
        row_direction=np.array([1.0, 0.0, 0.0]),
        column_direction=np.array([0.0, 1.0, 0.0]),
        pixel_spacing_mm=spacing_mm,
        positions_mm=positions_mm,
        thickness_mm=thickness_mm,
        plane=Plane.AXIAL,
        sources=tuple(SliceSource(str(index), None, index + 1) for index in range(len(voxels))),
        sequence="CT",
    )


def _step_mm(volume: Volume) -> float:
    return float(np.median(np.linalg.norm(np.diff(volume.positions_mm, axis=0), axis=1)))
