"""CT slices into which masses and look-alikes are put: the picture, and where brain is in it.

Hosts come from windowed pictures of a manifest and from Hounsfield volumes, cut obliquely and given a
scanner's faults, so that what a real study looks like lies inside the training data.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from neurotriage.core.volume import Volume
from training.data.manifest import Row, grey_images
from training.data.samples import depth_of, stored_picture
from worker.imaging.head import largest_component
from worker.vision.slices.preprocess import Box, head_box
from worker.vision.slices.window import brain_window

Grey = NDArray[np.float32]  # (STORED_PX, STORED_PX), 0..1
Region = NDArray[np.bool_]

BONE_LEVEL = 0.82  # grey level from which a pixel is bone or clip
TISSUE_LEVELS = (0.1, 0.82)
SCALP_PX = 4  # skull and scalp at least, where no bone can be seen
MIN_BRAIN_SHARE = 0.38  # of the head's section; below it there is face and skull base
STORED_MM = 1.45  # of a stored pixel, as a head of usual size fills its box
WINDOW_HU, LEVEL_HU = (65.0, 105.0), (30.0, 44.0)  # jitter around the fixed window
TILT_DEG, ZOOM = 14.0, (0.9, 1.1)
NOISE_HU, STREAK_HU, CUPPING_HU = 7.0, 6.0, 6.0  # largest
SECTION_PX = 176
SKIN_HU = -300.0
BRAIN_SHARE = 0.12  # of a slice of a volume: soft tissue
MARGIN_SLICES = 5  # of air above and below a volume


@dataclass(frozen=True, slots=True, eq=False)
class Host:
    """One slice; ``brain`` is what lies inside the skull (empty where there is too little of it)."""

    picture: Grey
    depth_px: NDArray[np.uint8]  # of the head
    brain: Region
    inside_px: NDArray[np.float32]  # distance of each brain pixel to the skull
    source: str
    group: str
    box: Box
    row: Row | None  # of a manifest

    @property
    def has_brain(self) -> bool:
        return bool(self.brain.any())


def hosts_of(rows: Sequence[Row]) -> Iterator[Host]:
    """One host for each grey picture of the rows."""
    for row in rows:
        for _, grey in grey_images(row):
            yield host(grey, row.source, row.group, row)


def host(grey: NDArray[np.uint8], source: str, group: str, row: Row | None = None) -> Host:
    """Crop a windowed grey picture to its head and find the brain."""
    box = head_box(grey)
    stored = stored_picture(grey, box)
    picture: Grey = np.divide(stored, 255, dtype=np.float32)
    brain = brain_of(picture)
    inside = ndimage.distance_transform_edt(brain).astype(np.float32)
    return Host(picture, depth_of(stored), brain, inside, source, group, box, row)


def brain_of(picture: Grey) -> Region:
    """The brain in a stored picture: soft tissue with bone around it; in a stripped head, the head itself.

    Empty where it is less than MIN_BRAIN_SHARE of the head.
    """
    depth = depth_of(np.round(picture * 255).astype(np.uint8))
    head = depth > 0
    bone = (picture > BONE_LEVEL) & head
    stripped = bone.mean() < 0.02 * head.mean()
    ring = ndimage.binary_closing(bone, iterations=3)
    inner = head if stripped else ndimage.binary_fill_holes(ring) & ~ndimage.binary_dilation(ring)
    smooth = ndimage.gaussian_filter(picture, 1.5)
    soft = inner & (smooth > TISSUE_LEVELS[0]) & (smooth < TISSUE_LEVELS[1])
    largest = largest_component(ndimage.binary_erosion(soft, iterations=2))
    filled = ndimage.binary_fill_holes(ndimage.binary_dilation(largest, iterations=2)) & inner
    deep = filled & (depth > (1 if stripped else SCALP_PX))
    return deep if deep.sum() > MIN_BRAIN_SHARE * head.sum() else np.zeros(picture.shape, bool)


def sections(volume: Volume, count: int, random: np.random.Generator, source: str) -> Iterator[Host]:
    """Random oblique, near-axial sections of a Hounsfield volume as a scanner would show them."""
    first, last = _brain_range(volume)
    while count > 0:
        section = _section_host(volume, float(random.uniform(first, last)), random, source)
        if section.has_brain:
            count -= 1
            yield section


def end_sections(volume: Volume, count: int, random: np.random.Generator, source: str) -> Iterator[Host]:
    """Sections above and below the brain, some of them through air only, as the ends of a series are."""
    first, last = _brain_range(volume)
    for _ in range(count):
        if random.random() < 0.5:
            height = random.uniform(last, len(volume.voxels) + MARGIN_SLICES)
        else:
            height = random.uniform(-MARGIN_SLICES, first)
        section = _section_host(volume, float(height), random, source)
        if not section.has_brain:
            yield section


def _brain_range(volume: Volume) -> tuple[int, int]:
    """First and last slice with much soft tissue."""
    brainy = np.flatnonzero([((pixels > 5) & (pixels < 70)).mean() > BRAIN_SHARE for pixels in volume.voxels])
    return int(brainy[0]), int(brainy[-1])


def _section_host(volume: Volume, height: float, random: np.random.Generator, source: str) -> Host:
    hounsfield = _scanned(_section(volume, height, random), random)
    shown = brain_window(hounsfield, random.uniform(*WINDOW_HU), random.uniform(*LEVEL_HU))
    return host(np.round(shown * 255).astype(np.uint8), source, source)


def _section(volume: Volume, height: float, random: np.random.Generator) -> NDArray[np.float32]:
    """A tilted plane through the volume, square pixels, a little larger or smaller than life."""
    axis_mm = (np.arange(SECTION_PX) - SECTION_PX / 2) * 1.4 * random.uniform(*ZOOM)
    y, x = np.meshgrid(axis_mm, axis_mm, indexing="ij")
    pitch, roll = np.tan(np.deg2rad(random.normal(0, TILT_DEG / 2, 2)))
    row_mm, column_mm = volume.pixel_spacing_mm
    step_mm = abs(float(volume.positions_mm[1, 2] - volume.positions_mm[0, 2]))
    rows, columns = volume.voxels.shape[1:]
    places = [
        height + (y * pitch + x * roll) / step_mm,
        rows / 2 + y / row_mm,
        columns / 2 + x / column_mm,
    ]
    voxels = np.asarray(volume.voxels)
    result: NDArray[np.float32] = ndimage.map_coordinates(
        voxels, places, order=1, cval=float(voxels.min()), output=np.float32
    )
    return result


def _scanned(hounsfield: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
    """Kernel-shaped noise, streaks along one direction, and cupping from beam hardening."""
    noise = ndimage.gaussian_filter(random.normal(size=hounsfield.shape), random.uniform(0.4, 1.1))
    grain = random.uniform(1, NOISE_HU) * noise / noise.std()
    y, x = np.mgrid[-1 : 1 : SECTION_PX * 1j, -1 : 1 : SECTION_PX * 1j]
    angle = random.uniform(0, np.pi)
    across = ndimage.gaussian_filter1d(random.normal(size=4 * SECTION_PX), 2.0)
    place = ((x * np.cos(angle) + y * np.sin(angle) + 1.5) / 3 * (4 * SECTION_PX - 1)).clip(0)
    streaks = np.interp(place, np.arange(4 * SECTION_PX), across / across.std())
    strength = random.uniform(0, STREAK_HU) * (random.random() < 0.3)
    cupping = random.uniform(-CUPPING_HU, CUPPING_HU) * np.hypot(y, x)
    tissue = hounsfield > max(SKIN_HU, float(hounsfield.min()) + 1)
    body = ndimage.gaussian_filter(tissue.astype(np.float32), 1.0)
    faults: NDArray[np.float32] = np.asarray(body * (grain + strength * streaks + cupping), np.float32)
    return hounsfield + faults
