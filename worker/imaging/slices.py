"""The slices of a stack, kept in memory as stored and converted to true units on access."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from neurotriage.core.errors import Refused
from neurotriage.core.values import Reason, ReasonCode
from neurotriage.dicom.geometry import FrameGeometry
from worker.decoding import DecoderEnded
from worker.imaging.pixels import Pixels, open_pixels
from worker.imaging.units import Scaling

# Of all stacks of a study: 1 GiB as stored in 16 bits, 2048 slices of 512 x 512. The networks analyse 200
# slices of a stack, so thinning to fit loses little.
MAX_VOXELS: Final = 1 << 29
# Each time the decoding process ends, its whole time limit may have been spent.
MAX_DECODER_ENDS: Final = 5


@dataclass(frozen=True, slots=True, eq=False)
class StoredSlice:
    """One frame as stored, with its scaling to true units."""

    stored: NDArray[np.integer]  # (rows, columns), of 16 bits or fewer where the values allow it
    scaling: Scaling
    oddity: str = ""  # a defect of the pixel data, which can be decoded nevertheless

    @property
    def true_units(self) -> NDArray[np.float32]:
        """(rows, columns), in HU for CT."""
        return self.scaling.true_units(self.stored)


class StoredSlices:
    """``Volume.voxels`` (slices, rows, columns) from stored slices: access converts only what it needs.

    Values are float32 in true units (HU for CT).
    """

    dtype = np.dtype(np.float32)
    ndim = 3

    def __init__(self, slices: Sequence[StoredSlice]) -> None:
        self._slices = tuple(slices)
        self.shape = (len(self._slices), *self._slices[0].stored.shape)

    def __len__(self) -> int:
        return len(self._slices)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return (stored_slice.true_units for stored_slice in self._slices)

    def __getitem__(self, key: Any) -> Any:
        """As for an array: the first index selects slices, the others apply to these."""
        first, *others = key if isinstance(key, tuple) else (key,)
        selected = np.arange(len(self))[first]
        if selected.ndim == 0:
            voxels = self._slices[int(selected)].true_units
            return voxels[tuple(others)] if others else voxels
        voxels = np.empty((len(selected), *self.shape[1:]), np.float32)
        for place, index in enumerate(selected):
            voxels[place] = self._slices[index].true_units
        return voxels[(slice(None), *others)] if others else voxels

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("an array in true units is always a copy")
        return np.asarray(self[:], dtype)


def thinned(
    ordered: Sequence[FrameGeometry], most_voxels: int = MAX_VOXELS
) -> tuple[list[FrameGeometry], list[FrameGeometry]]:
    """Evenly spread frames of a sorted stack, ``most_voxels`` voxels at most, and the frames between them."""
    size = max((frame.rows * frame.columns for frame in ordered), default=1)
    step = -(-len(ordered) * size // most_voxels)
    if step <= 1:
        return list(ordered), []
    first = (len(ordered) - 1) % step // 2  # the same loss at both ends
    taken = list(ordered[first::step])
    between = set(ordered) - set(taken)
    return taken, [frame for frame in ordered if frame in between]


def thinned_out(taken: int, there: int) -> Reason:
    """LOWER_RANK of a frame that was not read: ``taken`` of the ``there`` frames of its stack were."""
    sentence = f"{taken} of {there} images were read, evenly spread: more do not fit into memory"
    return Reason(ReasonCode.LOWER_RANK, sentence)


def read_slices(
    frames: Sequence[FrameGeometry],
) -> tuple[dict[FrameGeometry, StoredSlice], dict[FrameGeometry, Reason]]:
    """The frames that can be decoded, and the reasons for which others cannot. Opens each file once.

    After ``MAX_DECODER_ENDS`` frames that ended the decoding process, no further compressed frame is tried.
    Raises ``OSError`` where the storage fails, ``Unavailable`` where the decoding process cannot be started.
    """
    read: dict[FrameGeometry, StoredSlice] = {}
    refused: dict[FrameGeometry, Reason] = {}
    ends = 0
    in_files = sorted(frames, key=lambda frame: (str(frame.path), frame.frame or 0))
    for path, frames_of_file in groupby(in_files, key=lambda frame: frame.path):
        opened = _opened(path)
        for frame in frames_of_file:
            try:
                read[frame] = _read(opened, frame, ends)
            except Refused as error:
                ends += isinstance(error, DecoderEnded)
                refused[frame] = error.reason
    return read, refused


def _opened(path: Path) -> Pixels | Refused:
    try:
        return open_pixels(path)
    except Refused as refused:
        return refused


def _read(opened: Pixels | Refused, frame: FrameGeometry, ends: int) -> StoredSlice:
    if isinstance(opened, Refused):
        raise opened
    if opened.fragments is not None and ends >= MAX_DECODER_ENDS:
        sentence = f"not tried: {ends} images of this series ended the process that decoded them"
        raise Refused(ReasonCode.UNREADABLE_PIXELS, sentence)
    return StoredSlice(_narrow(opened.stored(frame.frame)), opened.scaling(frame.frame), opened.oddity)


def _narrow(stored: NDArray[np.integer]) -> NDArray[np.integer]:
    """32-bit values in 16 bits if they fit."""
    if stored.dtype.itemsize <= 2:
        return stored
    lowest, highest = int(stored.min()), int(stored.max())
    for kind in (np.int16, np.uint16):
        limits = np.iinfo(kind)
        if limits.min <= lowest and highest <= limits.max:
            return stored.astype(kind)
    return stored
