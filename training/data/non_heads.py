"""Pictures that are no head slice with brain: what the eligibility head learns to refuse.

All are made from noise, shapes and pieces of training heads or of the natural photographs that come with
scikit-learn, so no evaluation image is needed to teach "this is not a brain".
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Picture = NDArray[np.float32]  # (S, S), 0..1, of the stored slices' size
Heads = NDArray[np.uint8]  # (N, S, S)


def junk(heads: Heads, depths: Heads, count: int, seed: int) -> NDArray[np.uint8]:
    """``count`` pictures (count, S, S), as large as the heads, each kind in turn.

    ``depths`` (N, S, S) are the heads' as ``samples.depth_of`` gives them.
    """
    side_px = heads.shape[-1]
    random = np.random.default_rng(seed)
    photographs = _photographs()

    def head() -> tuple[Picture, Picture]:
        index = int(random.integers(len(heads)))
        return heads[index].astype(np.float32) / 255, depths[index].astype(np.float32)

    makers: list[Callable[[], Picture]] = [
        lambda: noise(random, side_px),
        lambda: phantom(random, side_px),
        lambda: blob(random, _patch(photographs, random, side_px)),
        lambda: blob(random, rings(random, side_px)),
        lambda: _patch(photographs, random, side_px),
        lambda: mosaic(random, [head()[0] for _ in range(4)]),
        lambda: jigsaw(random, head()[0]),
        lambda: zoomed(random, head()[0]),
        lambda: empty_skull(random, *head()),
        lambda: field_map(random, head()[1]),
        lambda: scrambled(random, head()[0]),
    ]
    pictures = [makers[i % len(makers)]() for i in range(count)]
    return np.stack([np.round(np.clip(p, 0, 1) * 255).astype(np.uint8) for p in pictures])


def noise(random: np.random.Generator, side_px: int) -> Picture:
    """White or smooth noise, Gaussian or Rayleigh."""
    field = random.normal(size=(2, side_px, side_px))
    field = ndimage.gaussian_filter(field, (0, *[random.choice([0, 0.7, 2, 6])] * 2))
    return _full_range(np.hypot(*field) if random.random() < 0.5 else field[0])


def phantom(random: np.random.Generator, side_px: int) -> Picture:
    """A disc or box of even signal with inserts, bars and a little noise."""
    picture = _ellipse(random, side_px, 0.3, 0.45) * random.uniform(0.5, 1.0)
    for _ in range(int(random.integers(0, 9))):
        insert = _ellipse(random, side_px, 0.02, 0.12, spread=0.25)
        picture = np.where(insert > 0, random.uniform(0, 1), picture)
    if random.random() < 0.4:
        period = int(random.integers(4, 20))
        bars = (np.arange(side_px) // period % 2).astype(np.float32)
        picture = picture * (bars[:, None] if random.random() < 0.5 else np.outer(bars, bars) + 0.3)
    return _full_range(picture + random.normal(0, random.uniform(0, 0.08), picture.shape))


def blob(random: np.random.Generator, texture: Picture) -> Picture:
    """A smooth body (fruit, limb) filled with a texture, with or without a bright rim."""
    angle = np.arctan2(*_grid(len(texture)))
    radius = np.hypot(*_grid(len(texture))) / random.uniform(0.55, 0.8)
    for wave in range(1, 5):
        radius = radius * (1 + random.normal(0, 0.12 / wave) * np.cos(wave * angle + random.uniform(0, 6.3)))
    picture = np.where(radius < 1, 0.2 + 0.8 * texture, 0)
    if random.random() < 0.5:
        picture = np.where(
            (radius < 1) & (radius > random.uniform(0.85, 0.97)), random.uniform(0, 1), picture
        )
    return _full_range(picture + random.normal(0, 0.02, picture.shape))


def rings(random: np.random.Generator, side_px: int) -> Picture:
    """Rings, spokes and seeds: the inside of a fruit or of a limb."""
    y, x = _grid(side_px)
    angle, radius = np.arctan2(y, x), np.hypot(y, x)
    spokes = np.cos(int(random.integers(3, 14)) * angle + random.uniform(0, 6.3))
    waves = np.cos(random.uniform(3, 25) * radius + random.uniform(0, 6.3))
    grain = ndimage.gaussian_filter(random.normal(size=x.shape), random.uniform(0.5, 4))
    parts = np.stack([spokes, waves, grain / grain.std()])
    return _full_range(np.tensordot(random.uniform(0, 1, 3), parts, 1))


def mosaic(random: np.random.Generator, heads: list[Picture]) -> Picture:
    """Many small heads in one frame, as a functional mosaic."""
    tiles = int(random.integers(3, 8))
    side_px = len(heads[0])
    side = -(-side_px // tiles)
    small = [ndimage.zoom(h, side / side_px, order=1, grid_mode=True, mode="nearest") for h in heads]
    order = random.integers(len(small), size=(tiles, tiles))
    used = int(random.integers(tiles, tiles * tiles + 1))
    rows = [
        np.hstack([small[k] * float(r * tiles + c < used) for c, k in enumerate(row)])
        for r, row in enumerate(order)
    ]
    return _full_range(np.vstack(rows)[:side_px, :side_px])


def jigsaw(random: np.random.Generator, head: Picture) -> Picture:
    """A head cut into squares that are put together in another order."""
    parts = int(random.choice([3, 4, 5, 8]))
    side = len(head) // parts
    squares = [head[r * side :, c * side :][:side, :side] for r in range(parts) for c in range(parts)]
    order = random.permutation(len(squares))
    rows = [np.hstack([squares[k] for k in order[r * parts : (r + 1) * parts]]) for r in range(parts)]
    picture = np.zeros_like(head)
    picture[: side * parts, : side * parts] = np.vstack(rows)
    return picture


def zoomed(random: np.random.Generator, head: Picture) -> Picture:
    """A small patch of a head that fills the frame."""
    side_px = len(head)
    side = int(random.integers(side_px // 8, side_px // 5))
    y, x = random.integers(side_px // 4, 3 * side_px // 4 - side, 2)
    patch = ndimage.zoom(head[y : y + side, x : x + side], side_px / side, order=1)
    return _full_range(patch)[:side_px, :side_px]


def empty_skull(random: np.random.Generator, head: Picture, depth: Picture) -> Picture:
    """A head without brain: a shell, its inside dark, even or noise."""
    shell = depth < random.uniform(4, 14)
    level = random.uniform(0, 0.9) if random.random() < 0.6 else 0.03
    inside = level + random.normal(0, random.uniform(0.005, 0.06), head.shape)
    return _full_range(np.where(shell, head, inside))


def field_map(random: np.random.Generator, depth: Picture) -> Picture:
    """A smooth phase that wraps inside a head, noise outside."""
    coarse = random.normal(size=(4, 4))
    turns = ndimage.zoom(coarse, len(depth) / 4, order=3) * random.uniform(0.3, 4)
    phase = _unit(turns % 1.0) if random.random() < 0.7 else _full_range(turns)
    outside = random.uniform(0, 1, depth.shape) if random.random() < 0.7 else 0.5
    return _unit(np.where(depth > 1, phase + random.normal(0, 0.02, depth.shape), outside))


def scrambled(random: np.random.Generator, head: Picture) -> Picture:
    """A head's spectrum with random phases."""
    spectrum = np.abs(np.fft.fft2(head)) * np.exp(1j * np.angle(np.fft.fft2(random.normal(size=head.shape))))
    return _full_range(np.real(np.fft.ifft2(spectrum)))


def _grid(side_px: int) -> NDArray[np.float64]:
    """(2, S, S): y and x, -1..1."""
    axis = np.linspace(-1, 1, side_px)
    return np.stack(np.meshgrid(axis, axis, indexing="ij"))


def _ellipse(
    random: np.random.Generator, side_px: int, least: float, most: float, spread: float = 0.05
) -> Picture:
    y, x = _grid(side_px) / 2
    centre_y, centre_x = random.uniform(-spread, spread, 2)
    radius_y, radius_x = random.uniform(least, most, 2)
    power = random.choice([2, 2, 8])  # 8: nearly a box
    inside = np.abs((y - centre_y) / radius_y) ** power + np.abs((x - centre_x) / radius_x) ** power < 1
    return _unit(inside)


def _full_range(picture: NDArray[np.floating]) -> Picture:
    low, high = np.percentile(picture, (1, 99.7))
    return _unit((picture - low) / max(high - low, 1e-6))


def _unit(picture: NDArray[np.generic]) -> Picture:
    """As float32 in 0..1."""
    return np.clip(picture.astype(np.float32), 0, 1)


def _photographs() -> list[Picture]:
    from sklearn.datasets import load_sample_images

    return [image.mean(2).astype(np.float32) / 255 for image in load_sample_images().images]


def _patch(photographs: list[Picture], random: np.random.Generator, side_px: int) -> Picture:
    photograph = photographs[int(random.integers(len(photographs)))]
    side = int(random.integers(60, min(photograph.shape)))
    y = int(random.integers(photograph.shape[0] - side + 1))
    x = int(random.integers(photograph.shape[1] - side + 1))
    patch = ndimage.zoom(photograph[y : y + side, x : x + side], side_px / side, order=1)
    return _full_range(patch[:side_px, :side_px])
