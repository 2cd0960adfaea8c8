"""The cross section of the body on each slice of a volume: where it is, how large, what bone encloses."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from neurotriage.core.volume import Volume
from worker.imaging.head import largest_component, unlike_border

COARSE_PX = 96  # longest side of the copy on which sections are measured
CORE_DEPTH = 0.35  # of a section's greatest depth; what is less deep is scalp and skull
# Of averaged copies, in which fat and bone run into brain; ``imaging.pixel_facts`` looks at the pixels.
SOFT_HU = (-10.0, 110.0)  # fluid to fresh blood; neither fat nor bone
BONE_HU = 150.0
BONE_DIRECTIONS = 7  # of eight in which bone lies around brain: a gap in the skull does not open it
MIN_ENCLOSED = 0.3  # of the largest section of soft tissue; less inside bone: the skull was taken away


@dataclass(frozen=True, slots=True, eq=False)
class Sections:
    """The body's cross section on each slice; of CT, its soft tissue."""

    area_mm2: NDArray[np.float64]  # (slices,)
    brain_mm2: NDArray[np.float64]  # (slices,) of it what bone encloses; all of it where that is not known
    centre_px: NDArray[np.float64]  # (slices, 2) row, column as stored; of the image where it is empty
    filled: NDArray[np.float64]  # (slices,) share of its inside that gives signal; 1 where it is empty

    @property
    def shares(self) -> NDArray[np.float64]:
        """(slices,) area as share of the largest section; 0 where all are empty."""
        return _of_largest(self.area_mm2)

    @property
    def brain_shares(self) -> NDArray[np.float64]:
        """(slices,) the same of what bone encloses."""
        return _of_largest(self.brain_mm2)


def measure_sections(volume: Volume) -> Sections:
    """Area, centre and filling of the tissue on each slice, from a small copy of the volume."""
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
    """Soft tissue of a CT slice (rows, columns), without thin seams."""
    result: NDArray[np.bool_] = ndimage.binary_opening((hounsfield > SOFT_HU[0]) & (hounsfield < SOFT_HU[1]))
    return result


def enclosed(bone: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of a slice (rows, columns) from which bone is seen in most of eight directions."""
    inside: NDArray[np.bool_] = (_straight(bone) + _slanted(bone) + _slanted(bone[:, ::-1])[:, ::-1]) >= (
        BONE_DIRECTIONS
    )
    return inside


def _straight(bone: NDArray[np.bool_]) -> NDArray[np.intp]:
    """In how many of the four directions along rows and columns each pixel sees bone."""
    seen = [np.logical_or.accumulate(view, axis) for view in (bone, bone[::-1, ::-1]) for axis in (0, 1)]
    result: NDArray[np.intp] = np.sum([*seen[:2], *(part[::-1, ::-1] for part in seen[2:])], axis=0)
    return result


def _slanted(bone: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The same of the two directions along one diagonal."""
    rows, columns = np.indices(bone.shape)
    sheared = np.zeros((bone.shape[0], sum(bone.shape)), bool)  # whose columns are the diagonals
    sheared[rows, rows + columns] = bone
    up, down = (np.logical_or.accumulate(view, 0) for view in (sheared, sheared[::-1]))
    result: NDArray[np.intp] = (up.astype(int) + down[::-1])[rows, rows + columns]
    return result


def _small_copies(volume: Volume, step: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Every ``step``-th pixel of all slices, averaged over ``step``; and bone there, kept where it is thin.

    There is no bone in MR. Only one slice at a time is there in full.
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
    """The inside of a filled section: what lies deeper than its rim."""
    depth = ndimage.distance_transform_edt(np.pad(outline, 1))[1:-1, 1:-1]
    deep: NDArray[np.bool_] = depth > CORE_DEPTH * depth.max()
    return deep
