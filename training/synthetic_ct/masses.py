"""Tumours for CT: synthetic masses put into the brain of a slice that has none.

A mass is an irregular blob with its own density, with oedema that follows the white matter, and it pushes
its surroundings away. Densities are in Hounsfield units above or below the tissue around, after the
textbook ranges: gliomas and metastases -18 to +18, meningiomas +6 to +20, calcium above +60.

These masses are for training and for figures of slices. They are drawn in two dimensions, in the grey levels
of stored pictures: most hosts are windowed pictures of single slices. ``training.synthetic_ct.solid_masses``
draws in series of Hounsfield units; the formulas of both are in ``training.synthetic_ct.tissue``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from training.data.samples import STORED_PX
from training.synthetic_ct.hosts import STORED_MM, Grey, Host, Region
from training.synthetic_ct.lesions import MrLesion, placed_lesion
from training.synthetic_ct.tissue import GRAIN_PX, grain, oedema_reach, ring, shift, without_fluid
from worker.vision.slices.window import BRAIN_WINDOW_HU

DIAMETER_MM = (8.0, 60.0)
DIAMETER_BETA = (1.5, 2.4)  # where between them: mostly 15 to 45 mm
LARGEST_SHARE = 0.24  # of the brain's section
INSIDE_SHARE, MENINGEAL_SHARE = 0.9, 0.5  # of a blob that must lie in the brain
SKULL_PX = 4.0  # within which the brain is held by the skull
ATTEMPTS = 12
KINDS = ("hyperdense", "hypodense", "isodense", "ring", "calcified", "mixed", "meningioma")
KIND_SHARES = (0.16, 0.2, 0.1, 0.2, 0.08, 0.12, 0.14)
REAL_SHAPE_SHARE = 0.5  # of the masses, where lesions are at hand
GRAIN_HU = 12.0  # finer differences between pixels than this are noise, which a mass keeps
FAINTEST_HU = 5.0  # mean change that a reader may be asked to see
DARK_SHARE = 0.7  # of the masses with a real shape: darker than brain, as without contrast agent


@dataclass(frozen=True, slots=True, eq=False)
class Blob:
    """An irregular region: ``level`` is 1 deep inside, 0 on its border, negative outside."""

    level: NDArray[np.float32]
    region: Region
    centre: tuple[float, float]
    radius_px: float


def with_mass(
    host: Host, random: np.random.Generator, lesions: Sequence[MrLesion] = ()
) -> tuple[Grey, Region] | None:
    """The host with one mass, and its pixels (STORED_PX, STORED_PX); None where no place for it was found."""
    if lesions and random.random() < REAL_SHAPE_SHARE:
        return with_lesion(host, lesions[int(random.integers(len(lesions)))], random)
    kind = str(random.choice(KINDS, p=KIND_SHARES))
    blob = placed_blob(host, random, _diameter_mm(kind, random), kind == "meningioma")
    if blob is None:
        return None
    pushed = displaced(host, blob, random.uniform(0.1, 0.55))
    pushed = pushed + _oedema(host, blob, kind, random)
    return np.clip(_filled(pushed, host, blob, kind, random), 0, 1).astype(np.float32), blob.region


def with_lesion(host: Host, lesion: MrLesion, random: np.random.Generator) -> tuple[Grey, Region] | None:
    """The host with a mass that has the outline and the texture of a real lesion."""
    for attempt in range(ATTEMPTS):
        shape, texture = placed_lesion(lesion, random, inside=attempt < ATTEMPTS // 2)
        if fits(host, shape):
            return with_outline(host, shape, texture, lesion.water, random)
    return None


def fits(host: Host, shape: Grey) -> bool:
    """Whether a lesion's outline (0..1, soft) lies in the brain and leaves most of it free."""
    region = shape > 0.5
    inside = int((region & host.brain).sum())
    return bool(region.any() and INSIDE_SHARE * region.sum() < inside < LARGEST_SHARE * host.brain.sum())


def with_outline(
    host: Host, shape: Grey, texture: Grey, water: bool, random: np.random.Generator
) -> tuple[Grey, Region] | None:
    """The host with a mass of a given outline and texture (0..1) at its place; None where it hardly shows.

    ``water``: the texture says how wet the tissue is; else how much contrast agent it took up.
    """
    inside = (shape > 0.5) & host.brain
    rows, columns = np.nonzero(inside)
    blob = Blob(
        shape, inside, (float(rows.mean()), float(columns.mean())), float(np.sqrt(inside.sum() / np.pi))
    )
    pushed = displaced(host, blob, random.uniform(0.0, 0.5))
    if not water:
        pushed = pushed + _oedema(host, blob, "mixed", random)
    fringe = soft_edge(inside, random.uniform(0.6, 3.0)) * host.brain
    noise = grain(host.picture, GRAIN_PX, grey(GRAIN_HU))
    level = (
        ndimage.gaussian_filter(pushed, 3.0) if random.random() < 0.4 else np.median(host.picture[host.brain])
    )
    inner = level + _tissue_density(texture, water, random) + noise
    mixed = np.clip(np.where(host.brain, pushed * (1 - fringe) + inner * fringe, pushed), 0, 1)
    if np.abs(mixed - host.picture)[inside].mean() < grey(FAINTEST_HU):
        return None
    return mixed.astype(np.float32), inside


def _tissue_density(texture: Grey, water: bool, random: np.random.Generator) -> Grey:
    """Difference to the brain: water is dark; what took up contrast agent is bright if the CT had some."""
    if water or random.random() < DARK_SHARE:
        deepest = grey(random.uniform(6, 20))
        wet = texture if water else 1 - texture
        result: Grey = -deepest * (random.uniform(0.3, 0.8) + 0.5 * wet)
        return result
    low, high = sorted(random.uniform((-14, 4), (4, 22)))
    bright: Grey = (grey(low) + grey(high - low) * texture).astype(np.float32)
    return bright


def displaced(host: Host, blob: Blob, strength: float) -> Grey:
    """Mass effect: tissue moves away from the blob's centre, less with distance, not at the skull."""
    y, x = np.indices(host.picture.shape, np.float32)
    dy, dx = y - blob.centre[0], x - blob.centre[1]
    distance = np.hypot(dy, dx) + 1e-3
    held = ndimage.gaussian_filter(np.clip(host.inside_px / SKULL_PX, 0, 1), 1.0)
    moves = shift(distance, blob.radius_px, 4, strength) * held
    places = [y - dy / distance * moves, x - dx / distance * moves]
    moved: Grey = ndimage.map_coordinates(host.picture, places, order=1, mode="nearest", output=np.float32)
    return moved


def placed_blob(
    host: Host, random: np.random.Generator, diameter_mm: float, at_skull: bool = False
) -> Blob | None:
    """A blob inside the brain, or with a broad base at the skull."""
    near = (host.inside_px > 1) & (host.inside_px < 5) if at_skull else host.inside_px > 3
    rows, columns = np.nonzero(near)
    if len(rows) == 0:
        return None
    least = MENINGEAL_SHARE if at_skull else INSIDE_SHARE
    for _ in range(ATTEMPTS):
        pick = int(random.integers(len(rows)))
        blob = _blob(random, (float(rows[pick]), float(columns[pick])), diameter_mm)
        inside = blob.region & host.brain
        if least * blob.region.sum() < inside.sum() < LARGEST_SHARE * host.brain.sum():
            return Blob(blob.level, inside, blob.centre, blob.radius_px)
        diameter_mm = max(DIAMETER_MM[0], diameter_mm * 0.93)
    return None


def smooth_noise(random: np.random.Generator, shape: tuple[int, ...], sigma_px: float) -> Grey:
    """Gaussian noise of a given grain, mean 0 and deviation 1."""
    field = ndimage.gaussian_filter(random.normal(size=shape), sigma_px, mode="wrap")
    return np.asarray(field / field.std(), np.float32)


def grey(hounsfield: float) -> float:
    """A difference in density as a difference of grey in the brain window."""
    return hounsfield / BRAIN_WINDOW_HU


def soft_edge(region: Region, sigma_px: float) -> Grey:
    """A region with a border that fades, 0..1."""
    return ndimage.gaussian_filter(region.astype(np.float32), sigma_px)


def _diameter_mm(kind: str, random: np.random.Generator) -> float:
    least, most = DIAMETER_MM
    drawn = least + (most - least) * random.beta(*DIAMETER_BETA)
    return float(max(drawn, 18.0)) if kind == "isodense" else float(drawn)


def _blob(random: np.random.Generator, centre: tuple[float, float], diameter_mm: float) -> Blob:
    radius = diameter_mm / 2 / STORED_MM
    shape = (STORED_PX, STORED_PX)
    y, x = np.indices(shape, np.float32)
    angle, stretch = random.uniform(0, np.pi), np.exp(random.normal(0, 0.18))
    dy, dx = y - centre[0], x - centre[1]
    along = (dy * np.sin(angle) + dx * np.cos(angle)) / (radius * stretch)
    across = (dy * np.cos(angle) - dx * np.sin(angle)) / (radius / stretch)
    rough = random.uniform(0.03, 0.28)
    bumps = smooth_noise(random, shape, max(1.5, radius * random.uniform(0.25, 0.6)))
    level = 1 - np.hypot(along, across) + rough * bumps
    labels, _ = ndimage.label(level > 0)
    own = labels[int(centre[0]), int(centre[1])]
    region = labels == own if own else np.zeros(shape, bool)
    return Blob(level.astype(np.float32), ndimage.binary_fill_holes(region), centre, radius)


def _oedema(host: Host, blob: Blob, kind: str, random: np.random.Generator) -> Grey:
    """A dark halo with fingers in the white matter; it spares cortex and ventricles."""
    if kind != "isodense" and random.random() < (0.6 if kind == "meningioma" else 0.2):
        return np.zeros_like(host.picture)
    width = random.uniform(0.3, 1.3) * blob.radius_px + 3
    outside = ndimage.distance_transform_edt(~blob.region)
    fingers = smooth_noise(random, host.picture.shape, random.uniform(2.5, 5))
    tissue = without_fluid(host.picture, host.brain, GRAIN_PX, grey(GRAIN_HU))
    reach = oedema_reach(outside, width, fingers)
    deep = np.clip((host.inside_px - 3) / 4, 0, 1)
    halo = ndimage.gaussian_filter(reach * deep * tissue, 1.0)
    return (-grey(random.uniform(6, 15)) * halo).astype(np.float32)


def _filled(pushed: Grey, host: Host, blob: Blob, kind: str, random: np.random.Generator) -> Grey:
    """The blob's own tissue: its density and texture, with the grain of the picture left in."""
    noise = grain(host.picture, GRAIN_PX, grey(GRAIN_HU))
    texture = smooth_noise(random, pushed.shape, random.uniform(1.5, 5)) * grey(random.uniform(0, 3.5))
    level = float(np.median(host.picture[host.brain]))
    inside = level + _density(blob, kind, random) + texture + noise
    edge = soft_edge(blob.region, random.uniform(0.5, 2.0) if kind != "meningioma" else 0.6)
    opacity = 1.0 if kind != "isodense" else random.uniform(0.7, 1.0)
    edge = edge * opacity
    mixed: Grey = pushed * (1 - edge) + inside * edge
    return np.where(host.brain, mixed, pushed)


def _density(blob: Blob, kind: str, random: np.random.Generator) -> Grey:
    """Difference to the brain's level over the blob."""
    flat = np.ones_like(blob.level)
    if kind in ("hyperdense", "meningioma"):
        return flat * grey(random.uniform(7, 19))
    if kind == "hypodense":
        return flat * -grey(random.uniform(6, 18))
    if kind == "isodense":
        return flat * grey(random.uniform(-3, 4))
    if kind == "calcified":
        spots = smooth_noise(random, blob.level.shape, random.uniform(1.0, 2.2)) > random.uniform(1.1, 1.9)
        return flat * grey(random.uniform(-8, 10)) + spots * grey(random.uniform(25, 60))
    if kind == "mixed":
        parts = smooth_noise(random, blob.level.shape, blob.radius_px * 0.4 + 1) > random.uniform(-0.5, 0.5)
        return np.where(parts, grey(random.uniform(4, 16)), -grey(random.uniform(4, 16))).astype(np.float32)
    depth = ndimage.distance_transform_edt(blob.region)
    rim = random.uniform(1.5, max(2.0, 0.35 * blob.radius_px))
    core = -grey(random.uniform(8, 24))
    return ring(depth, rim, 2, core, grey(random.uniform(5, 18))).astype(np.float32)
