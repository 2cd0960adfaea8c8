"""Shapes and textures of real lesions, as MR shows them, for synthetic masses on CT.

No public set of CT tumours could be had, but a tumour has one shape in both modalities, and what is bright
on FLAIR for its water is dark on CT for the same reason. So a lesion's outline and inner texture are taken
from masked axial MR slices and given densities of CT.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from training.data.manifest import Row, grey_images, mask_of
from training.data.samples import STORED_PX, stored_mask, stored_picture
from training.synthetic_ct.hosts import Grey, Region
from worker.vision.slices.preprocess import head_box

MIN_PX = 50  # of stored pixels; a smaller section has no shape
TEXTURE_PERCENTILES = (3.0, 97.0)
WATER = "flair"  # sequence on which water content shows
TURN_DEG, ZOOM = 25.0, (0.75, 1.25)
SHIFT_PX = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class MrLesion:
    """A lesion on the stored grid, where it lies in the head; ``texture`` is 0 outside ``region``."""

    region: NDArray[np.bool_]
    texture: NDArray[np.uint8]  # 0..255
    water: bool  # texture says how wet the tissue is; else how much contrast agent it took up


def lesions_of(rows: Sequence[Row]) -> tuple[MrLesion, ...]:
    """Lesions of the masked axial slices of an MR manifest."""
    return tuple(lesion for row in rows if row.plane == "axial" for lesion in lesions_in(row))


def lesions_in(row: Row) -> list[MrLesion]:
    """The lesion of one masked slice, with the texture of each grey image that shows one best."""
    mask = mask_of(row)
    if mask is None:
        return []
    lesions = []
    for name, grey in grey_images(row):
        if len(row.sequences) > 1 and WATER not in name.lower():
            continue
        box = head_box(grey)
        region = stored_mask(mask, box) > 127
        if region.sum() >= MIN_PX:
            texture = _texture(stored_picture(grey, box), region)
            lesions.append(MrLesion(region, texture, WATER in name.lower()))
    return lesions


def _texture(picture: NDArray[np.uint8], region: Region) -> NDArray[np.uint8]:
    low, high = np.percentile(picture[region], TEXTURE_PERCENTILES)
    scaled = (picture.astype(np.float32) - low) / max(float(high - low), 8.0)
    return np.where(region, np.clip(scaled, 0, 1) * 255, 0).astype(np.uint8)


def placed_lesion(lesion: MrLesion, random: np.random.Generator, inside: bool) -> tuple[Grey, Grey]:
    """Region (0..1, soft) and texture of a lesion, mirrored, turned, scaled and shifted at random.

    ``inside`` keeps it near its own place in the head; else it goes anywhere.
    """
    angle = np.deg2rad(random.uniform(-TURN_DEG, TURN_DEG))
    scale = np.exp(random.uniform(*np.log(ZOOM)))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    mirror = random.choice([-1.0, 1.0])
    matrix = turn @ np.diag([1.0, mirror])
    middle = np.full(2, (STORED_PX - 1) / 2)
    spread = SHIFT_PX if inside else 3.5 * SHIFT_PX
    offset = middle - matrix @ (middle + random.normal(0, spread / 2, 2))

    def moved(field: NDArray[np.generic]) -> Grey:
        result: Grey = ndimage.affine_transform(
            field.astype(np.float32), matrix, offset, order=1, output=np.float32
        )
        return result

    return moved(lesion.region), moved(lesion.texture) / np.float32(255)
