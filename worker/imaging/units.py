"""Stored values to true units: Hounsfield units for CT, rescaled signal for MR."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from neurotriage.dicom.attributes import described, functional_group, number, whole_number
from neurotriage.dicom.headers import text

# Below any CT number that a scanner measures: padding outside the reconstruction circle.
LOWEST_HU: Final = -1024.0


@dataclass(frozen=True, slots=True)
class Scaling:
    """How the stored values of one frame become true units, each frame by its own.

    The one scaling is the Modality LUT's RescaleSlope and RescaleIntercept (PS3.3 C.11.1), of a frame by its
    Pixel Value Transformation (C.7.6.16.2.9). Vendors' further scales, such as Philips' (2005,100E), are not
    applied: no network here looks at absolute MR signal.
    """

    slope: float
    intercept: float
    lowest: float  # no value is below
    padding: tuple[int, int] | None  # stored values from the first to the second are padding (C.7.5.1.1.2),
    outside: float  # which becomes this
    turned_about: float | None  # where black and white change places: the darkest and the brightest added

    def true_units(self, stored: NDArray[np.integer]) -> NDArray[np.float32]:
        """Values of the same shape, in float32. Padding is told by stored values, before they are scaled."""
        values = stored.astype(np.float32)
        values *= np.float32(self.slope)
        values += np.float32(self.intercept)
        if self.turned_about is not None:
            np.subtract(np.float32(self.turned_about), values, out=values)
        if self.lowest > -math.inf:
            np.maximum(values, np.float32(self.lowest), out=values)
        if self.padding is not None:
            values[(stored >= self.padding[0]) & (stored <= self.padding[1])] = self.outside
        return values


def scaling_of(dataset: Dataset, index: int = 0) -> Scaling:
    """The scaling of a frame (0-based) by its header; without a calibration, values are taken as stored.

    MONOCHROME1 says how values are displayed, not what they are: CT numbers stay, MR signal is turned into
    the sense of MONOCHROME2, in which networks know it.
    """
    slope, intercept = calibration(dataset, index) or (1.0, 0.0)
    is_ct = text(dataset, "Modality").upper() == "CT"
    turned_about = None
    if not is_ct and text(dataset, "PhotometricInterpretation").upper() == "MONOCHROME1":
        turned_about = sum(_stored_range(dataset)) * slope + 2 * intercept
    return Scaling(
        slope=slope,
        intercept=intercept,
        lowest=LOWEST_HU if is_ct else -math.inf,
        padding=_padding(dataset),
        outside=LOWEST_HU if is_ct else 0.0,
        turned_about=turned_about,
    )


def calibration(dataset: Dataset, index: int = 0) -> tuple[float, float] | None:
    """(slope, intercept) of a frame; None where the header gives no usable pair."""
    group = functional_group(dataset, index, "PixelValueTransformationSequence")
    for place in (group, dataset):
        if place is None:
            continue
        slope, intercept = number(place, "RescaleSlope"), number(place, "RescaleIntercept")
        if slope is not None and intercept is not None and slope != 0 and math.isfinite(slope * intercept):
            return slope, intercept
    return None


def uncalibrated(dataset: Dataset, index: int = 0) -> str:
    """Why a frame has no calibration, for a refusal: how its tags stand in the header."""
    group = functional_group(dataset, index, "PixelValueTransformationSequence")
    place = dataset if group is None else group
    return f"{described(place, 'RescaleSlope')}, {described(place, 'RescaleIntercept')}"


def _stored_range(dataset: Dataset) -> tuple[int, int]:
    bits = whole_number(dataset, "BitsStored") or 16
    if whole_number(dataset, "PixelRepresentation") == 1:
        return -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    return 0, (1 << bits) - 1


def _padding(dataset: Dataset) -> tuple[int, int] | None:
    """PixelPaddingValue, up or down to PixelPaddingRangeLimit."""
    value = whole_number(dataset, "PixelPaddingValue")
    if value is None:
        return None
    limit = whole_number(dataset, "PixelPaddingRangeLimit")
    ends = [_as_stored(end, dataset) for end in (value, value if limit is None else limit)]
    return min(ends), max(ends)


def _as_stored(value: int, dataset: Dataset) -> int:
    """Some writers give a signed padding value as its unsigned bit pattern, or the reverse."""
    lowest, highest = _stored_range(dataset)
    if lowest <= value <= highest:
        return value
    return (value - lowest) % (highest - lowest + 1) + lowest
