"""Findings that may look like a tumour on CT and are none: bleeds, infarcts, clips; and harmless changes.

Blood is 50 to 90 HU, some 20 to 45 above the brain, and has no oedema at first; an infarct is a dark wedge
up to the cortex that takes grey and white matter alike. ``harmless`` changes a slice as a mass does (its
tissue shifts, a soft-edged patch is exchanged) without any lesion, so that editing alone is no sign.
"""

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from training.synthetic_ct.hosts import Grey, Host, Region
from training.synthetic_ct.masses import displaced, grey, placed_blob, smooth_noise, soft_edge

BLOOD_HU = (20.0, 45.0)
INFARCT_HU = (6.0, 17.0)


def mimic(host: Host, random: np.random.Generator) -> Grey | None:
    """The host with a bleed, an infarct or a clip; None where no place for it was found."""
    makers: tuple[Callable[[Host, np.random.Generator], Grey | None], ...] = (
        parenchymal_bleed,
        extra_axial_bleed,
        extra_axial_bleed,
        subarachnoid_bleed,
        infarct,
        infarct,
        clip,
    )
    made = makers[int(random.integers(len(makers)))](host, random)
    return None if made is None else np.clip(made, 0, 1).astype(np.float32)


def harmless(host: Host, random: np.random.Generator) -> Grey:
    """The host with shifted tissue, or with a patch of tissue from elsewhere in the same brain."""
    blob = placed_blob(host, random, random.uniform(12, 45))
    if blob is None:
        return host.picture
    if random.random() < 0.5:
        return displaced(host, blob, random.uniform(0.08, 0.3) * random.choice([-1, 1]))
    rows, columns = np.nonzero(host.brain)
    pick = int(random.integers(len(rows)))
    shift = np.round([blob.centre[0] - rows[pick], blob.centre[1] - columns[pick]]).astype(int)
    moved = np.roll(host.picture, tuple(shift), (0, 1))
    usable = blob.region & np.roll(host.brain & (host.inside_px > 2), tuple(shift), (0, 1))
    edge = soft_edge(usable, random.uniform(0.8, 2.0)) * host.brain
    return (host.picture * (1 - edge) + moved * edge).astype(np.float32)


def parenchymal_bleed(host: Host, random: np.random.Generator) -> Grey | None:
    """A clot: bright, even, sharp; with a thin dark rim at most."""
    blob = placed_blob(host, random, random.uniform(8, 48))
    if blob is None:
        return None
    pushed = displaced(host, blob, random.uniform(0, 0.3))
    rim = soft_edge(ndimage.binary_dilation(blob.region, iterations=2) & host.brain, 1.0)
    return _blood(pushed - rim * grey(random.uniform(0, 8)), host, blob.region, random)


def extra_axial_bleed(host: Host, random: np.random.Generator) -> Grey | None:
    """Under the skull: a crescent (subdural) or a lens (epidural)."""
    y, x = np.indices(host.picture.shape, np.float32)
    rows, columns = np.nonzero((host.inside_px > 0) & (host.inside_px < 2))
    if len(rows) == 0:
        return None
    pick = int(random.integers(len(rows)))
    from_start = np.hypot(y - rows[pick], x - columns[pick])
    if random.random() < 0.6:
        length, thickness = random.uniform(25, 70), random.uniform(3, 9)
        taper = np.clip(1.3 * (1 - from_start / length), 0, 1) ** 0.5
        region = host.brain & (host.inside_px < thickness * taper)
    else:
        region = host.brain & (from_start < random.uniform(9, 26))
    return _blood(host.picture, host, region, random) if region.sum() > 30 else None


def subarachnoid_bleed(host: Host, random: np.random.Generator) -> Grey | None:
    """Bright sulci and cisterns in a part of the brain."""
    blob = placed_blob(host, random, random.uniform(35, 90))
    if blob is None:
        return None
    smooth = ndimage.gaussian_filter(host.picture, 0.8)
    fluid = smooth < np.median(smooth[host.brain]) - grey(5)
    region = ndimage.binary_dilation(fluid & blob.region) & host.brain
    return _blood(host.picture, host, region, random) if region.sum() > 30 else None


def infarct(host: Host, random: np.random.Generator) -> Grey | None:
    """A wedge from a deep point to the cortex, straight-edged, with hardly any mass effect."""
    y, x = np.indices(host.picture.shape, np.float32)
    rows, columns = np.nonzero(host.inside_px > 0.45 * host.inside_px.max())
    if len(rows) == 0:
        return None
    pick = int(random.integers(len(rows)))
    direction = np.arctan2(y - rows[pick], x - columns[pick]) - random.uniform(-np.pi, np.pi)
    turned = np.abs(np.angle(np.exp(1j * direction)))
    wobble = smooth_noise(random, host.picture.shape, 6) * 0.08
    region = host.brain & (turned + wobble < random.uniform(0.2, 0.6))
    near = np.hypot(y - rows[pick], x - columns[pick])
    region &= near > random.uniform(0, 12)
    if region.sum() < 60:
        return None
    smooth = ndimage.gaussian_filter(host.picture, 2.0)
    flat = (smooth - host.picture) * random.uniform(0, 0.5)  # grey and white matter cannot be told apart
    change: Grey = soft_edge(region, 1.2) * (flat - grey(random.uniform(*INFARCT_HU)))
    return host.picture + change


def clip(host: Host, random: np.random.Generator) -> Grey | None:
    """Metal with streaks that fan out from it."""
    blob = placed_blob(host, random, random.uniform(6, 12))
    if blob is None:
        return None
    y, x = np.indices(host.picture.shape, np.float32)
    dy, dx = y - blob.centre[0], x - blob.centre[1]
    angle, distance = np.arctan2(dy, dx), np.hypot(dy, dx)
    fan = np.zeros_like(host.picture)
    for _ in range(int(random.integers(6, 16))):
        width = random.uniform(0.03, 0.12)
        off = np.abs(np.angle(np.exp(1j * (angle - random.uniform(-np.pi, np.pi)))))
        fan += random.uniform(-1, 0.8) * np.exp(-((off / width) ** 2))
    streaks = fan * np.exp(-distance / random.uniform(15, 45)) * random.uniform(0.3, 0.9)
    metal = soft_edge(distance < random.uniform(1.5, 4), 0.7)
    body = soft_edge(host.picture > 0.05, 1.0)
    made: Grey = host.picture + streaks * body + metal
    return made


def _blood(picture: Grey, host: Host, region: Region, random: np.random.Generator) -> Grey:
    grain = host.picture - ndimage.gaussian_filter(host.picture, 1.2)
    level = float(np.median(host.picture[host.brain])) + grey(random.uniform(*BLOOD_HU))
    clots = smooth_noise(random, picture.shape, 3) * grey(random.uniform(0, 4))
    edge = soft_edge(region, random.uniform(0.5, 1.1)) * host.brain
    return picture * (1 - edge) + (level + clots + np.clip(grain, -0.1, 0.1)) * edge
