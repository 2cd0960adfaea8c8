"""Whether the pixels of a volume are a head that the network may judge, whatever the header says."""

import numpy as np
from numpy.typing import NDArray

from neurotriage.core.values import Outcome, Plane, Reason, ReasonCode
from neurotriage.core.volume import Volume
from neurotriage.core.wording import counted
from worker.vision.registry.rule import StudyRule
from worker.vision.series.predict import SlicePredictions
from worker.vision.slices.sections import Sections

EMPTY_SHARE = 0.1  # of the largest standard deviation of a slice; a slice below it shows only air


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
