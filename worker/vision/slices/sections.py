"""The cross section of the body on each slice of a volume: place, area, and the part that bone encloses."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from neurotriage.core.volume import Volume
from worker.imaging.head import largest_component, unlike_border

COARSE_PX = 96  # longest side of the copy on which sections are measured
CORE_DEPTH = 0.35  # as a share of a section's greatest depth; scalp and skull lie less deep
# For averaged copies, in which fat and bone blur into brain; those of single pixels: ``imaging.pixel_facts``.
SOFT_HU = (-10.0, 110.0)  # fluid to fresh blood; neither fat nor bone
BONE_HU = 150.0
BONE_DIRECTIONS = 7  # of eight in which bone must lie around brain: one gap in the skull is allowed
MIN_ENCLOSED = 0.3  # as a share of the largest section; less within bone: the skull was stripped


@dataclass(frozen=True, slots=True, eq=False)
class Sections:
    """The body's cross section on each slice of a volume; on CT, its soft tissue."""

    area_mm2: NDArray[np.float64]  # (slices,)
    brain_mm2: NDArray[np.float64]  # (slices,) the part that bone encloses; MR and CT without a skull: all
    centre_px: NDArray[np.float64]  # (slices, 2) row, column as stored; the image's where there is no section
    filled: NDArray[np.float64]  # (slices,) share of its core that gives signal; 1 where there is no section

    @property
    def shares(self) -> NDArray[np.float64]:
        """(slices,) area as a share of the largest section; 0 where there is none."""
        return _of_largest(self.area_mm2)

    @property
    def brain_shares(self) -> NDArray[np.float64]:
        """(slices,) the same of the parts that bone encloses."""
        return _of_largest(self.brain_mm2)


def measure_sections(volume: Volume) -> Sections:
    """The section on each slice, measured on a copy of at most ``COARSE_PX`` pixels a side."""
    step = max(1, -(-max(volume.voxels.shape[1:]) // COARSE_PX))
    small, bone = _small_copies(volume, step)
    tissue = unlike_border(small)
    area, centre, filled = np.zeros(len(small)), np.zeros((len(small), 2)), np.ones(len(small))
    brain = np.zeros(len(small))
    pixel_mm2 = step**2 * volume.pixel_spacing_mm[0] * volume.pixel_spacing_mm[1]
    for index, mask in enumerate(tissue):
        outline = largest_component(ndimage.binary_fill_holes(ndimage.binary_opening(mask)))
        if not outline.any():
            centre[index] = (np.array(mask.shape) - 1) / 2 * step
            continue
        soft = outline if volume.modality != "CT" else outline & soft_tissue(small[index])
        area[index] = soft.sum() * pixel_mm2
        brain[index] = (soft & enclosed(bone[index])).sum() * pixel_mm2
        centre[index] = np.argwhere(outline).mean(0) * step
        filled[index] = mask[_core(outline)].mean()
    if volume.modality != "CT" or brain.max() < MIN_ENCLOSED * area.max():
        brain = area
    return Sections(area, brain, centre, filled)


def soft_tissue(hounsfield: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Soft tissue of a CT slice (rows, columns) in Hounsfield units; thin lines are left out."""
    result: NDArray[np.bool_] = ndimage.binary_opening((hounsfield > SOFT_HU[0]) & (hounsfield < SOFT_HU[1]))
    return result


def enclosed(bone: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of a slice (rows, columns) with bone in at least ``BONE_DIRECTIONS`` of eight directions."""
    inside: NDArray[np.bool_] = (_straight(bone) + _slanted(bone) + _slanted(bone[:, ::-1])[:, ::-1]) >= (
        BONE_DIRECTIONS
    )
    return inside


def _straight(bone: NDArray[np.bool_]) -> NDArray[np.intp]:
    """In how many of the four directions along rows and columns each pixel has bone."""
    reached = [np.logical_or.accumulate(view, axis) for view in (bone, bone[::-1, ::-1]) for axis in (0, 1)]
    result: NDArray[np.intp] = np.sum([*reached[:2], *(part[::-1, ::-1] for part in reached[2:])], axis=0)
    return result


def _slanted(bone: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The same in the two directions along one diagonal."""
    rows, columns = np.indices(bone.shape)
    sheared = np.zeros((bone.shape[0], sum(bone.shape)), bool)  # its columns are the diagonals
    sheared[rows, rows + columns] = bone
    up, down = (np.logical_or.accumulate(view, 0) for view in (sheared, sheared[::-1]))
    result: NDArray[np.intp] = (up.astype(int) + down[::-1])[rows, rows + columns]
    return result


def _small_copies(volume: Volume, step: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Every ``step``-th pixel of all slices, averaged over ``step``; and whether there is bone around it.

    Bone is a maximum, not a mean, so that thin bone stays; in MR there is none. Slice by slice, so that no
    second volume of full size is in memory.
    """
    small, bone = [], []
    for pixels in volume.voxels:
        small.append((ndimage.uniform_filter(pixels, step) if step > 1 else pixels)[::step, ::step].copy())
        if volume.modality == "CT":
            bone.append(ndimage.maximum_filter(pixels, step)[::step, ::step] > BONE_HU)
        else:
            bone.append(np.zeros(small[-1].shape, bool))
    return np.stack(small), np.stack(bone)


def _of_largest(area: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = area / max(float(area.max()), 1e-9)
    return result


def _core(outline: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The part of a filled section that lies deeper than ``CORE_DEPTH``."""
    depth = ndimage.distance_transform_edt(np.pad(outline, 1))[1:-1, 1:-1]
    deep: NDArray[np.bool_] = depth > CORE_DEPTH * depth.max()
    return deep
