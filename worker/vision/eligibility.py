"""Whether the pixels of a volume are a head that the network may judge, whatever the header says."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from neurotriage.core.values import Outcome, Plane, Reason, ReasonCode
from neurotriage.core.volume import Volume
from neurotriage.core.wording import counted
from worker.vision.predict import SlicePredictions
from worker.vision.rule import StudyRule

COARSE_PX = 96  # longest side of the copy on which sections are measured
SECTION_LEVEL = 0.12  # share of the range above the background at which tissue begins
CORE_DEPTH = 0.35  # of a section's greatest depth; what is less deep is scalp and skull
SOFT_HU = (-10.0, 110.0)  # fluid to fresh blood; neither fat nor bone
BONE_HU = 150.0
BONE_DIRECTIONS = 7  # of eight in which bone lies around brain: a gap in the skull does not open it
MIN_ENCLOSED = 0.3  # of the largest section of soft tissue; less inside bone: the skull was taken away
EMPTY_SHARE = 0.1  # of the largest standard deviation of a slice; a slice below it shows only air


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


@dataclass(frozen=True, slots=True, eq=False)
class FeatureReference:
    """A Gaussian of the features of training slices, and which distances from it are ordinary.

    Lee et al., A Simple Unified Framework for Detecting Out-of-Distribution Samples, NeurIPS 2018; the
    channels beyond the principal axes count by their common deviation.
    """

    weights: NDArray[np.float32]  # (channels,) put the network's maps on one scale
    mean: NDArray[np.float32]  # (channels,) of the weighed features
    axes: NDArray[np.float16]  # (n, channels) principal axes of these
    deviations: NDArray[np.float32]  # (n,) along the axes
    rest: NDArray[np.float32]  # () root mean square distance from the space of the axes
    near: NDArray[np.float32]  # () distance that scores 0: the median of validation slices
    far: NDArray[np.float32]  # () distance that scores 1

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Features (n, channels) to (n,): 0 = like the training data, 1 = unlike anything seen."""
        scaled = (self.distance(features) - self.near) / (self.far - self.near)
        result: NDArray[np.float64] = np.clip(scaled, 0.0, 1.0).astype(np.float64)
        return result

    def distance(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mahalanobis distance (n,) in units of its expected size."""
        offset = features * self.weights - self.mean
        axes = self.axes.astype(np.float32)
        along = offset @ axes.T
        beyond = np.linalg.norm(offset - along @ axes, axis=1) / self.rest
        result: NDArray[np.float32] = np.sqrt(np.mean((along / self.deviations) ** 2, axis=1) + beyond**2)
        return result


def noisy(volume: Volume, rule: StudyRule) -> Reason | None:
    """The reason where most slices that hold anything hold no picture; None where they do."""
    found = np.array([(pixels.std(), neighbour_correlation(pixels)) for pixels in volume.voxels])
    filled = found[:, 0] >= EMPTY_SHARE * found[:, 0].max()
    correlation = float(np.median(found[filled, 1]))
    if correlation >= rule.noise_correlation:
        return None
    return Reason(
        ReasonCode.NOISE,
        f"no picture: neighbouring pixels agree with {correlation:.2f} "
        f"(a picture has at least {rule.noise_correlation:.2f})",
    )


def neighbour_correlation(pixels: NDArray[np.float32]) -> float:
    """Pearson correlation of pixels with their neighbours in the row and column; 0 for a flat slice."""
    pairs = (pixels[:, :-1], pixels[:, 1:]), (pixels[:-1], pixels[1:])
    values = []
    for one, other in pairs:
        a, b = one.ravel() - one.mean(), other.ravel() - other.mean()
        scale = float(np.sqrt((a @ a) * (b @ b)))
        values.append(float(a @ b) / scale if scale > 0 else 0.0)
    return min(values)


def no_head(
    predictions: SlicePredictions, odd: NDArray[np.float64], sections: Sections, rule: StudyRule, plane: Plane
) -> Reason | None:
    """The reason where the slices of a plane show no head; None where they do.

    ``odd`` (n,) is the out-of-distribution score. Slices with a small section say little and are left out.
    """
    shares = sections.shares[predictions.indices]
    full = shares >= rule.small_section * shares.max()
    head, strange = float(np.median(predictions.head[full])), float(np.median(odd[full]))
    filled = float(np.median(sections.filled[predictions.indices][full]))
    if head < rule.head_probability:
        text = f"the pixels show no head: score {head:.2f}, a head has at least {rule.head_probability:.2f}"
        return Reason(ReasonCode.NOT_A_HEAD, text)
    if filled < rule.filled_share:
        text = f"hollow: {filled:.0%} of the inside gives signal, of a head at least {rule.filled_share:.0%}"
        return Reason(ReasonCode.NOT_A_HEAD, text)
    if strange > rule.odd_limit(plane):
        text = f"unlike any head the model has seen: score {strange:.2f}, limit {rule.odd_limit(plane):.2f}"
        return Reason(ReasonCode.OUT_OF_DISTRIBUTION, text)
    return None


def too_little(volume: Volume, rule: StudyRule) -> Reason | None:
    """The reason where a head is there, but too little of it for any answer."""
    count = len(volume.voxels)
    covered_mm = float(np.linalg.norm(volume.positions_mm[-1] - volume.positions_mm[0])) + volume.thickness_mm
    if count >= rule.fewest_slices and covered_mm >= rule.least_mm:
        return None
    return Reason(
        ReasonCode.TOO_FEW_SLICES,
        f"{counted(count, 'slice')} over {covered_mm:.0f} mm; "
        f"{rule.fewest_slices} slices over {rule.least_mm:.0f} mm are needed",
    )


# What is no head, or no head that the model knows (by its pixels a knee may look like one), is not eligible;
# of poor quality are a head of which there is too little, and a header without a picture.
ENDS = {
    ReasonCode.NOISE: Outcome.POOR_QUALITY,
    ReasonCode.NOT_A_HEAD: Outcome.NOT_ELIGIBLE,
    ReasonCode.OUT_OF_DISTRIBUTION: Outcome.NOT_ELIGIBLE,
    ReasonCode.TOO_FEW_SLICES: Outcome.POOR_QUALITY,
}


def measure_sections(volume: Volume) -> Sections:
    """Area, centre and filling of the tissue on each slice, from a small copy of the volume."""
    step = max(1, -(-max(volume.voxels.shape[1:]) // COARSE_PX))
    small, bone = _small_copies(volume, step)
    border = np.concatenate([small[:, 0], small[:, -1], small[:, :, 0], small[:, :, -1]], axis=1)
    distance = np.abs(small - np.percentile(border, 25))
    tissue = distance > SECTION_LEVEL * np.percentile(distance, 99.5)
    area, centre, filled = np.zeros(len(small)), np.zeros((len(small), 2)), np.ones(len(small))
    brain = np.zeros(len(small))
    pixel_mm2 = step**2 * volume.pixel_spacing_mm[0] * volume.pixel_spacing_mm[1]
    for index, mask in enumerate(tissue):
        outline = largest_piece(ndimage.binary_fill_holes(ndimage.binary_opening(mask)))
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


def largest_piece(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected piece of a mask (rows, columns); empty where the mask is."""
    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    piece: NDArray[np.bool_] = labels == 1 + int(np.bincount(labels.ravel())[1:].argmax())
    return piece


def _core(outline: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The inside of a filled section: what lies deeper than its rim."""
    depth = ndimage.distance_transform_edt(np.pad(outline, 1))[1:-1, 1:-1]
    deep: NDArray[np.bool_] = depth > CORE_DEPTH * depth.max()
    return deep
