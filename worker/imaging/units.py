"""From stored values to true units: Hounsfield units for CT, rescaled signal for MR."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from neurotriage.dicom.attributes import described, functional_group, number, whole_number
from neurotriage.dicom.headers import text

# Values below are no CT numbers but padding outside the reconstruction circle.
LOWEST_HU: Final = -1024.0


@dataclass(frozen=True, slots=True)
class Scaling:
    """The conversion of the stored values of one frame to true units.

    It applies Rescale Slope and Intercept of the Modality LUT (PS3.3 C.11.1), or of the frame's Pixel Value
    Transformation (C.7.6.16.2.9). Vendors' further scales, such as Philips' (2005,100E), are not applied: no
    network uses absolute MR signal.
    """

    slope: float
    intercept: float
    lowest: float  # lower values are raised to this
    padding: tuple[int, int] | None  # range of stored values, inclusive, that are padding (C.7.5.1.1.2)
    outside: float  # the value of padding in true units
    inverted_about: float | None  # sum of the darkest and the brightest value, if black and white are swapped

    def true_units(self, stored: NDArray[np.integer]) -> NDArray[np.float32]:
        """float32 of the same shape. Padding is recognised by stored values, before scaling."""
        values = stored.astype(np.float32)
        values *= np.float32(self.slope)
        values += np.float32(self.intercept)
        if self.inverted_about is not None:
            np.subtract(np.float32(self.inverted_about), values, out=values)
        if self.lowest > -math.inf:
            np.maximum(values, np.float32(self.lowest), out=values)
        if self.padding is not None:
            values[(stored >= self.padding[0]) & (stored <= self.padding[1])] = self.outside
        return values


def scaling_of(dataset: Dataset, index: int = 0) -> Scaling:
    """The scaling of a frame (``index``, 0-based); without a calibration, stored values are true units.

    MONOCHROME1 (PS3.3 C.7.6.3.1.2) concerns display: CT numbers are kept, MR signal is inverted to the sense
    of MONOCHROME2, on which the networks were trained.
    """
    slope, intercept = calibration(dataset, index) or (1.0, 0.0)
    is_ct = text(dataset, "Modality").upper() == "CT"
    inverted_about = None
    if not is_ct and text(dataset, "PhotometricInterpretation").upper() == "MONOCHROME1":
        inverted_about = sum(_stored_range(dataset)) * slope + 2 * intercept
    return Scaling(
        slope=slope,
        intercept=intercept,
        lowest=LOWEST_HU if is_ct else -math.inf,
        padding=_padding(dataset),
        outside=LOWEST_HU if is_ct else 0.0,
        inverted_about=inverted_about,
    )


def calibration(dataset: Dataset, index: int = 0) -> tuple[float, float] | None:
    """(Rescale Slope, Rescale Intercept) of a frame (0-based); None where the header has no valid pair.

    From Pixel Value Transformation (PS3.3 C.7.6.16.2.9), else from the Modality LUT (C.11.1).
    """
    group = functional_group(dataset, index, "PixelValueTransformationSequence")
    for place in (group, dataset):
        if place is None:
            continue
        slope, intercept = number(place, "RescaleSlope"), number(place, "RescaleIntercept")
        if slope is not None and intercept is not None and slope != 0 and math.isfinite(slope * intercept):
            return slope, intercept
    return None


def uncalibrated(dataset: Dataset, index: int = 0) -> str:
    """The values of Rescale Slope and Intercept of a frame (0-based) without a calibration, for a refusal."""
    group = functional_group(dataset, index, "PixelValueTransformationSequence")
    place = dataset if group is None else group
    return f"{described(place, 'RescaleSlope')}, {described(place, 'RescaleIntercept')}"


def _stored_range(dataset: Dataset) -> tuple[int, int]:
    bits = whole_number(dataset, "BitsStored") or 16
    if whole_number(dataset, "PixelRepresentation") == 1:
        return -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    return 0, (1 << bits) - 1


def _padding(dataset: Dataset) -> tuple[int, int] | None:
    """The range from PixelPaddingValue to PixelPaddingRangeLimit, lower value first (PS3.3 C.7.5.1.1.2)."""
    value = whole_number(dataset, "PixelPaddingValue")
    if value is None:
        return None
    limit = whole_number(dataset, "PixelPaddingRangeLimit")
    ends = [_as_stored(end, dataset) for end in (value, value if limit is None else limit)]
    return min(ends), max(ends)


def _as_stored(value: int, dataset: Dataset) -> int:
    """Some writers state a signed padding value as its unsigned bit pattern, or the reverse."""
    lowest, highest = _stored_range(dataset)
    if lowest <= value <= highest:
        return value
    return (value - lowest) % (highest - lowest + 1) + lowest
