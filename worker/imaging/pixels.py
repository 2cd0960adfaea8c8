"""Stored pixels to true units: Hounsfield units for CT, rescaled signal for MR."""

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.pixels.decoders.base import Decoder, get_decoder
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from neurotriage.core.errors import Refused
from neurotriage.core.headers import MALFORMED, first_line, text
from neurotriage.core.values import ReasonCode
from worker.imaging import decoders
from worker.imaging.attributes import functional_group, number, whole_number

# Far above any CT or MR matrix; a header that says more lies or is no slice.
MAX_SIDE_PX: Final = 16384
# Compressed data cannot be checked against the header by length, so the frame itself is bounded: 64 Mpx
# (8192 x 8192) is four times the largest CT or MR frame known to the standard's users.
MAX_COMPRESSED_FRAME_PX: Final = 1 << 26
# Below any CT number that a scanner measures: padding outside the reconstruction circle.
LOWEST_HU: Final = -1024.0

_GREY: Final = ("MONOCHROME1", "MONOCHROME2")
_BROKEN: Final = (*MALFORMED, RuntimeError, MemoryError)


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """The checked pixel data of one instance, ready to be decoded frame by frame."""

    path: Path
    dataset: FileDataset
    decoder: Decoder
    rows: int
    columns: int
    frames: int

    def frame(self, number_from_1: int | None = None) -> NDArray[np.float32]:
        """One frame (rows, columns) in true units; ``None`` is the first. Raises ``Refused``."""
        index = (number_from_1 or 1) - 1
        if not 0 <= index < self.frames:
            raise _broken(f"there is no frame {index + 1}, the instance has {self.frames}")
        stored = self._stored(index)
        if stored.shape != (self.rows, self.columns):
            raise _broken(f"the decoded picture is {stored.shape}, not {self.rows} x {self.columns}")
        return _true_units(stored, self.dataset, index)

    def _stored(self, index: int) -> NDArray[np.integer]:
        shift = _misplaced_bits(self.dataset, self.decoder.UID)
        options: dict[str, Any] = {"correct_unused_bits": not shift, "allow_excess_frames": False}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                stored, _ = self.decoder.as_array(self.dataset, index=index, **options)
        except _BROKEN as error:
            raise _broken(f"the pixel data cannot be decoded: {first_line(error)}") from error
        return _aligned(stored, self.dataset, shift) if shift else stored


def decode_frame(path: Path, frame: int | None = None) -> NDArray[np.float32]:
    """One frame of a file, shape (rows, columns), float32, in true units.

    CT: Hounsfield units by the Modality LUT's slope and intercept (PS3.3 C.11.1), also per frame
    (C.7.6.16.2.9), never below -1024; padding (C.7.5.1.1.2) becomes air. MR: rescaled signal, padding 0.
    MONOCHROME1 is turned into MONOCHROME2's sense. ``frame`` counts from 1. Raises ``Refused``.
    """
    return open_pixels(path).frame(frame)


def open_pixels(path: Path) -> Pixels:
    """Read a file and check what it claims against what it holds. Raises ``Refused``."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path, force=True)
    except (InvalidDicomError, RecursionError, *_BROKEN) as error:
        raise Refused(ReasonCode.NOT_DICOM, f"the file cannot be read: {first_line(error)}") from error
    rows, columns, frames = _checked_size(dataset)
    syntax = _transfer_syntax(dataset)
    decoder = _decoder(syntax)
    _check_length(dataset, syntax, rows * columns, frames)
    return Pixels(path, dataset, decoder, rows, columns, frames)


def _checked_size(dataset: Dataset) -> tuple[int, int, int]:
    if "PixelData" not in dataset:
        raise Refused(ReasonCode.NO_PIXELS, "the instance has no pixel data")
    photometric = text(dataset, "PhotometricInterpretation").upper()
    if whole_number(dataset, "SamplesPerPixel") not in (None, 1) or photometric not in _GREY:
        raise Refused(ReasonCode.COLOUR, f"a colour picture ({photometric or 'unknown'}), not a grey slice")
    rows, columns = whole_number(dataset, "Rows") or 0, whole_number(dataset, "Columns") or 0
    if not (0 < rows <= MAX_SIDE_PX and 0 < columns <= MAX_SIDE_PX):
        raise _broken(f"the header claims {rows} x {columns} pixels")
    frames = whole_number(dataset, "NumberOfFrames")
    if frames is not None and frames < 1:
        raise _broken(f"the header claims {frames} frames")
    return rows, columns, frames or 1


def _transfer_syntax(dataset: FileDataset) -> UID:
    """From the File Meta; where there is none, as the data set was found to be encoded."""
    meta = getattr(dataset, "file_meta", None)
    stated = text(meta, "TransferSyntaxUID") if meta is not None else ""
    if stated:
        return UID(stated, validation_mode=pydicom.config.IGNORE)
    implicit, little = dataset.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _check_length(dataset: Dataset, syntax: UID, frame_px: int, frames: int) -> None:
    """Nothing is allocated by the header: native data must be there in full (PS3.5 8.1.1)."""
    held = len(dataset.PixelData or b"")
    if syntax.is_encapsulated:
        if frame_px > MAX_COMPRESSED_FRAME_PX:
            raise _broken(f"the header claims {frame_px} compressed pixels a frame")
        return
    bits = whole_number(dataset, "BitsAllocated") or 0
    if bits not in (8, 16, 32):
        raise _broken(f"{bits} bits allocated; 8, 16 or 32 can be read")
    needed = frame_px * frames * bits // 8
    if held < needed:
        raise _broken(f"the pixel data is truncated or its size lies: {held} bytes of {needed}")


def _decoder(syntax: UID) -> Decoder:
    decoders.register()
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise _broken(f"transfer syntax {syntax.name} cannot be decoded") from error
    if not decoder.is_available:
        raise _broken(f"no decoder for transfer syntax {syntax.name} is installed")
    return decoder


def _misplaced_bits(dataset: Dataset, syntax: UID) -> int:
    """By how many bits the samples lie above bit 0: old devices use High Bit (PS3.5 8.1.1 notes)."""
    if syntax.is_encapsulated and syntax != RLELossless:
        return 0
    high, stored = whole_number(dataset, "HighBit"), whole_number(dataset, "BitsStored")
    allocated = whole_number(dataset, "BitsAllocated")
    if high is None or stored is None or allocated is None or not stored <= high < allocated:
        return 0
    return high + 1 - stored


def _aligned(stored: NDArray[np.integer], dataset: Dataset, shift: int) -> NDArray[np.integer]:
    unused = stored.dtype.itemsize * 8 - 1 - int(dataset.HighBit)
    aligned: NDArray[np.integer] = (stored << unused) >> (unused + shift)
    return aligned


def _true_units(stored: NDArray[np.integer], dataset: Dataset, index: int) -> NDArray[np.float32]:
    padding = _padding(stored, dataset)
    values = stored.astype(np.float32)
    if text(dataset, "PhotometricInterpretation").upper() == "MONOCHROME1":
        lowest, highest = _stored_range(dataset)
        values = np.float32(lowest + highest) - values
    slope, intercept = calibration(dataset, index) or (1.0, 0.0)
    values = values * np.float32(slope) + np.float32(intercept)
    is_ct = text(dataset, "Modality").upper() == "CT"
    if is_ct:
        np.maximum(values, np.float32(LOWEST_HU), out=values)
    if padding is not None:
        values[padding] = LOWEST_HU if is_ct else 0.0
    return values


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


def _stored_range(dataset: Dataset) -> tuple[int, int]:
    bits = whole_number(dataset, "BitsStored") or 16
    if whole_number(dataset, "PixelRepresentation") == 1:
        return -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    return 0, (1 << bits) - 1


def _padding(stored: NDArray[np.integer], dataset: Dataset) -> NDArray[np.bool_] | None:
    """Pixels equal to PixelPaddingValue, or between it and PixelPaddingRangeLimit (PS3.3 C.7.5.1.1.2)."""
    value = whole_number(dataset, "PixelPaddingValue")
    if value is None:
        return None
    limit = whole_number(dataset, "PixelPaddingRangeLimit")
    ends = [_as_stored(end, dataset) for end in (value, value if limit is None else limit)]
    return (stored >= min(ends)) & (stored <= max(ends))


def _as_stored(value: int, dataset: Dataset) -> int:
    """Some writers give a signed padding value as its unsigned bit pattern, or the reverse."""
    lowest, highest = _stored_range(dataset)
    if lowest <= value <= highest:
        return value
    return (value - lowest) % (highest - lowest + 1) + lowest


def _broken(sentence: str) -> Refused:
    return Refused(ReasonCode.UNREADABLE_PIXELS, sentence)
