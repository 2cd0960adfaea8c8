"""Make the demo's head anew: ``python -m neurotriage.demo.make_head`` (for developers; needs nilearn).

The ICBM 152 template shows a brain without its skull. Everything around it is drawn here from distances
to the brain and a few ellipsoids, roughly, as a demonstration allows.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from neurotriage.demo.head import HEAD_FILE, Tissue

Mask = NDArray[np.bool_]
Field = NDArray[np.float32]

_SPACING_MM: Final = 1.0
_LOW_MM: Final = (-98, -134, -72)  # corner of the template
_HIGH_MM: Final = (98, 114, 106)
_SEED: Final = 152
_T1_STEP: Final = 4  # grey levels are rounded to this: smaller file, no visible difference

_SUBARACHNOID_MM: Final = 2.0
_INNER_TABLE_MM: Final = 1.6
_DIPLOE_MM: Final = 3.2
_OUTER_TABLE_MM: Final = 1.6
_SCALP_FAT_MM: Final = 3.5
_SKIN_MM: Final = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class TemplateGrid:
    """Coordinates of every voxel in template space (mm), as arrays that broadcast."""

    x: Field
    y: Field
    z: Field

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.x.shape[0], self.y.shape[1], self.z.shape[2]

    def ellipsoid(self, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Field:
        """Distance of each voxel from the centre in units of the radii: below 1 inside."""
        return np.asarray(
            np.sqrt(
                ((self.x - centre[0]) / radii[0]) ** 2
                + ((self.y - centre[1]) / radii[1]) ** 2
                + ((self.z - centre[2]) / radii[2]) ** 2
            ),
            np.float32,
        )

    def both(self, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Mask:
        """An ellipsoid and its mirror image on the other side."""
        x, y, z = centre
        return (self.ellipsoid((x, y, z), radii) < 1) | (self.ellipsoid((-x, y, z), radii) < 1)


def main() -> None:
    """Write the head's volumes into the package."""
    grid = _grid()
    t1 = _template(grid)
    tissue = _tissues(grid, t1)
    rounded = np.minimum(np.round(t1 / _T1_STEP) * _T1_STEP, 252).astype(np.uint8)
    HEAD_FILE.parent.mkdir(exist_ok=True)
    np.savez_compressed(
        HEAD_FILE,
        tissue=tissue,
        t1=rounded,
        origin_mm=np.array(_LOW_MM, np.float32),
        spacing_mm=np.float32(_SPACING_MM),
    )
    print(f"{HEAD_FILE.name}: {tissue.shape} voxels, {HEAD_FILE.stat().st_size / 1e6:.2f} MB")


def _grid() -> TemplateGrid:
    axes = [
        np.arange(a, b + 1, _SPACING_MM, dtype=np.float32) for a, b in zip(_LOW_MM, _HIGH_MM, strict=True)
    ]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    return TemplateGrid(x, y, z)


def _template(grid: TemplateGrid) -> Field:
    """T1 of the template on our grid, sharpened: an average of 152 people is softer than one person."""
    from nilearn.datasets import load_mni152_template

    image = load_mni152_template(resolution=1)
    inverse = np.linalg.inv(image.affine)
    corner = inverse @ np.array([*_LOW_MM, 1.0])
    data = np.asarray(image.dataobj, np.float32)
    data *= 255 / data.max()
    placed = ndimage.affine_transform(
        data, inverse[:3, :3] * _SPACING_MM, corner[:3], grid.shape, order=1, output=np.float32
    )
    brain = placed > 1
    soft = ndimage.gaussian_filter(placed, 1.2) / np.maximum(
        ndimage.gaussian_filter(brain.astype(np.float32), 1.2), 0.05
    )
    sharp = np.clip(placed + 1.0 * (placed - soft), 8, 255)
    return np.where(brain, sharp, 0).astype(np.float32)


def _tissues(grid: TemplateGrid, t1: Field) -> NDArray[np.uint8]:
    brain = t1 > 0
    inside = _intracranial(grid, brain)
    distance = _smooth_distance(inside)
    noise = _noise(grid.shape, 12.0, 1)
    fine = _noise(grid.shape, 2.5, 2)
    tissue = _cranium(grid, distance, noise)
    _fill_base(grid, tissue, inside, fine, noise)
    _draw_face(grid, tissue, inside, fine)
    _draw_ears(grid, tissue, inside, fine)
    tissue[inside] = Tissue.CSF
    tissue[brain & inside] = Tissue.BRAIN
    _draw_midline(grid, tissue, brain, inside)
    return tissue


def _intracranial(grid: TemplateGrid, brain: Mask) -> Mask:
    """The inside of the skull: above nearly the convex hull, at the base close to the lobes."""
    wide = _closed(brain, 14)
    close = _closed(brain, 5)
    above = 1 / (1 + np.exp(-(grid.z + 18) / 4))
    both = np.where(above > 0.5, wide, close)
    smooth = ndimage.gaussian_filter(both.astype(np.float32), 2.0)
    return np.asarray((_outside(smooth > 0.5) <= _SUBARACHNOID_MM) | brain)


def _closed(mask: Mask, radius_mm: float) -> Mask:
    """Morphological closing by distance; beyond the grid the mask continues as at its edge."""
    margin = int(radius_mm) + 1
    padded = np.pad(mask, margin, mode="edge")
    grown = _outside(padded) <= radius_mm
    shrunk = ndimage.distance_transform_edt(grown) > radius_mm
    inner = (slice(margin, -margin),) * 3
    return np.asarray(shrunk[inner] | mask)


def _outside(mask: Mask) -> Field:
    return np.asarray(ndimage.distance_transform_edt(~mask), np.float32)


def _smooth_distance(inside: Mask) -> Field:
    """Distance to the inside of the skull, mm, without the corners of the voxels."""
    return np.asarray(ndimage.gaussian_filter(_outside(inside), 2.5), np.float32)


def _noise(shape: tuple[int, int, int], scale_mm: float, number: int) -> Field:
    """A smooth random field of mean 0 and deviation 1."""
    rng = np.random.default_rng((_SEED, number))
    field = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), scale_mm / _SPACING_MM)
    return np.asarray(field / field.std(), np.float32)


def _cranium(grid: TemplateGrid, distance: Field, noise: Field) -> NDArray[np.uint8]:
    """Layers of bone and scalp by their distance from the inside, with the chewing and neck muscles."""
    lateral = np.clip((np.abs(grid.x) - 40) / 15, 0, 1)
    temple = 11 * lateral * np.exp(-(((grid.y - 12) / 30) ** 2) - ((grid.z + 22) / 30) ** 2)
    neck = 18 * np.clip((-grid.y - 35) / 25, 0, 1) / (1 + np.exp((grid.z + 46) / 5))
    neck = neck * np.clip((75 - np.abs(grid.x)) / 30, 0.1, 1)
    muscle = temple + neck
    diploe = np.maximum(_DIPLOE_MM + 0.7 * noise - 0.16 * temple, 0.8)
    edges = np.cumsum(
        [
            np.full(grid.shape, _INNER_TABLE_MM, np.float32),
            diploe,
            np.full(grid.shape, _OUTER_TABLE_MM, np.float32),
            muscle,
            np.maximum(_SCALP_FAT_MM + 0.8 * noise, 1.5),
            np.full(grid.shape, _SKIN_MM, np.float32),
        ],
        axis=0,
    )
    layers = (Tissue.BONE, Tissue.MARROW, Tissue.BONE, Tissue.MUSCLE, Tissue.FAT, Tissue.SKIN)
    tissue = np.zeros(grid.shape, np.uint8)
    for edge, layer in zip(edges[::-1], layers[::-1], strict=True):
        tissue[distance <= edge] = layer
    return tissue


def _fill_base(
    grid: TemplateGrid, tissue: NDArray[np.uint8], inside: Mask, fine: Field, noise: Field
) -> None:
    """Draw petrous and sphenoid bone with marrow, below and between the lobes."""
    base = _closed(inside, 20) & ~inside & (grid.z < -18)
    tissue[base] = np.where(fine[base] + 0.5 * noise[base] > 0.2, Tissue.BONE, Tissue.MARROW)


def _draw_ears(grid: TemplateGrid, tissue: NDArray[np.uint8], inside: Mask, fine: Field) -> None:
    """Draw mastoid cells, ear canals and auricles."""
    mastoid = grid.both((56, -40, -48), (12, 13, 16)) & ~inside
    tissue[mastoid] = np.where(fine[mastoid] > -0.3, Tissue.AIR, Tissue.BONE)
    canal = (np.hypot(grid.y + 22, grid.z + 44) < 3) & (np.abs(np.abs(grid.x) - 60) < 12) & ~inside
    tissue[canal & (tissue != Tissue.AIR)] = Tissue.AIR
    ear = grid.both((77, -32, -38), (6, 15, 22)) & (tissue == Tissue.AIR) & ~mastoid
    tissue[ear & ~canal] = Tissue.SKIN


def _draw_face(grid: TemplateGrid, tissue: NDArray[np.uint8], inside: Mask, fine: Field) -> None:
    """Draw soft tissue in front of the skull base, the orbits, the nose and the sinuses around it."""
    face = np.minimum(grid.ellipsoid((0, 30, -66), (64, 68, 62)), grid.ellipsoid((0, 92, -62), (13, 20, 38)))
    whole = _closed((face < 1) | (tissue != Tissue.AIR) | inside, 16)
    between = whole & (tissue == Tissue.AIR) & (grid.z < -20)
    soft = ((face < 1) & np.isin(tissue, (Tissue.AIR, Tissue.FAT, Tissue.SKIN)) | between) & ~inside
    tissue[soft] = np.where(fine[soft] > 0.2, Tissue.FAT, Tissue.MUSCLE)
    head = ndimage.binary_fill_holes(tissue != Tissue.AIR) | inside
    depth = ndimage.distance_transform_edt(head)
    tissue[(depth <= _SKIN_MM) & soft] = Tissue.SKIN
    tissue[(depth > _SKIN_MM) & (depth <= 5) & soft] = Tissue.FAT
    cells = np.abs(np.sin(grid.x / 2.6)) + 0.4 * fine > 0.35
    nose = (np.abs(grid.x) < 12) & (grid.y > 26) & (grid.y < 86) & (grid.z < -27) & (depth > 5) & ~inside
    tissue[nose] = np.where(cells[nose], Tissue.AIR, Tissue.MUCOSA)
    for centre, radii in (((0.0, 16.0, -42.0), (12.0, 11.0, 9.0)), ((28.0, 48.0, -68.0), (14.0, 17.0, 15.0))):
        wall = grid.both(centre, tuple(r + 1.5 for r in radii)) & ~inside  # type: ignore[arg-type]
        tissue[wall] = Tissue.BONE
        tissue[grid.both(centre, radii) & ~inside] = Tissue.AIR
    frontal = (tissue == Tissue.MARROW) & (np.abs(grid.x) < 16 + 3 * fine) & (grid.y > 55)
    tissue[frontal & (np.abs(grid.z + 8) < 14) & (np.abs(grid.x) > 1.5)] = Tissue.AIR
    for side in (-1.0, 1.0):
        _draw_orbit(grid, tissue, inside, side)


def _draw_orbit(grid: TemplateGrid, tissue: NDArray[np.uint8], inside: Mask, side: float) -> None:
    """Draw a cone of fat with the globe in front, the optic nerve and the rectus muscles."""
    apex, globe = np.array([13 * side, 24, -30]), np.array([32 * side, 64, -34])
    axis = globe - apex
    length = float(np.linalg.norm(axis))
    axis = axis / length
    offset = (grid.x - apex[0], grid.y - apex[1], grid.z - apex[2])
    along = offset[0] * axis[0] + offset[1] * axis[1] + offset[2] * axis[2]
    across = np.sqrt(np.maximum(sum(o**2 for o in offset) - along**2, 0))
    radius = np.interp(along, (0, length - 6, length + 8), (4, 17, 18)).astype(np.float32)
    cone = (along > 0) & (along < length + 14) & ~inside
    front = tissue == Tissue.AIR
    tissue[cone & (across < radius + 2) & ~front & (along < length + 4)] = Tissue.BONE
    below_roof = grid.z < -22
    tissue[cone & (across < radius) & below_roof & ~(front & (along > length))] = Tissue.FAT
    muscle = np.abs(across - 0.66 * radius) < 1.6
    quarter = np.cos(4 * np.arctan2(offset[2] - along * axis[2], offset[0] - along * axis[0])) > 0.3
    tissue[cone & muscle & quarter & (along < length - 4)] = Tissue.MUSCLE
    tissue[cone & (across < 2.2) & (along < length - 8)] = Tissue.MUSCLE
    x, y, z = (float(value) for value in globe)
    tissue[grid.ellipsoid((x, y, z), (13, 13, 13)) < 1] = Tissue.MUSCLE
    tissue[grid.ellipsoid((x, y, z), (11.6, 11.6, 11.6)) < 1] = Tissue.VITREOUS
    tissue[grid.ellipsoid((x, y + 8, z), (4.6, 2.2, 4.6)) < 1] = Tissue.LENS
    lid = (grid.ellipsoid((x, y, z), (16, 16, 14)) < 1) & (tissue == Tissue.AIR) & (grid.y > y)
    tissue[lid] = Tissue.SKIN


def _draw_midline(grid: TemplateGrid, tissue: NDArray[np.uint8], brain: Mask, inside: Mask) -> None:
    """Draw the falx between the hemispheres and the sagittal sinus along the vault."""
    depth = np.asarray(ndimage.distance_transform_edt(inside), np.float32)
    vault = inside & ((grid.z > 20) | (grid.y < -75)) & (grid.z > -10)
    free = vault & ~ndimage.binary_erosion(brain, iterations=1)
    tissue[free & (np.abs(grid.x) < 0.8) & (depth < 40)] = Tissue.DURA
    tissue[vault & (np.abs(grid.x) + 0.7 * depth < 5) & (depth < 6)] = Tissue.VESSEL


if __name__ == "__main__":
    main()
