"""The slices of a stack, held once: as stored, in true units when they are looked at."""

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

# Of all stacks of a study: 1 GiB as stored in 16 bits, 2048 slices of 512 x 512. The networks look at 200
# slices of a stack, so what is thinned to fit loses little.
MAX_VOXELS: Final = 1 << 29
# Each end of the decoding process may have cost its whole time limit.
MAX_DECODER_ENDS: Final = 5


@dataclass(frozen=True, slots=True, eq=False)
class StoredSlice:
    """One frame as stored, and what makes true units of it."""

    stored: NDArray[np.integer]  # (rows, columns), of 16 bits or fewer where the values allow it
    scaling: Scaling
    oddity: str = ""  # what was wrong with the pixel data although they can be read

    @property
    def true_units(self) -> NDArray[np.float32]:
        return self.scaling.true_units(self.stored)


class StoredSlices:
    """``Volume.voxels`` of slices as stored: each use makes float32 of what it asks for, and of no more."""

    dtype = np.dtype(np.float32)
    ndim = 3

    def __init__(self, slices: Sequence[StoredSlice]) -> None:
        self._slices = tuple(slices)
        self.shape = (len(self._slices), *self._slices[0].stored.shape)

    def __len__(self) -> int:
        return len(self._slices)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return (one.true_units for one in self._slices)

    def __getitem__(self, key: Any) -> Any:
        """As of an array: the first index chooses slices, others apply to these."""
        first, *others = key if isinstance(key, tuple) else (key,)
        chosen = np.arange(len(self))[first]
        if chosen.ndim == 0:
            found = self._slices[int(chosen)].true_units
            return found[tuple(others)] if others else found
        held = np.empty((len(chosen), *self.shape[1:]), np.float32)
        for place, index in enumerate(chosen):
            held[place] = self._slices[index].true_units
        return held[(slice(None), *others)] if others else held

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("an array in true units is always a copy")
        return np.asarray(self[:], dtype)


def thinned(
    ordered: Sequence[FrameGeometry], most_voxels: int = MAX_VOXELS
) -> tuple[list[FrameGeometry], list[FrameGeometry]]:
    """Evenly spread frames of a sorted stack that fit into memory, and those between them."""
    size = max((frame.rows * frame.columns for frame in ordered), default=1)
    step = -(-len(ordered) * size // most_voxels)
    if step <= 1:
        return list(ordered), []
    first = (len(ordered) - 1) % step // 2  # as much is lost at one end as at the other
    taken = list(ordered[first::step])
    between = set(ordered) - set(taken)
    return taken, [frame for frame in ordered if frame in between]


def thinned_out(taken: int, there: int) -> Reason:
    """Why a frame was not read."""
    sentence = f"{taken} of {there} images were read, evenly spread: more do not fit into memory"
    return Reason(ReasonCode.LOWER_RANK, sentence)


def read_slices(
    frames: Sequence[FrameGeometry],
) -> tuple[dict[FrameGeometry, StoredSlice], dict[FrameGeometry, Reason]]:
    """The frames that can be read, and why the others cannot. Each file is opened once.

    After ``MAX_DECODER_ENDS`` frames that ended the decoding process, no other compressed frame is tried.
    Raises ``OSError`` where the storage fails, ``Unavailable`` where decoding cannot be started.
    """
    read: dict[FrameGeometry, StoredSlice] = {}
    refused: dict[FrameGeometry, Reason] = {}
    ends = 0
    in_files = sorted(frames, key=lambda frame: (str(frame.path), frame.frame or 0))
    for path, own in groupby(in_files, key=lambda frame: frame.path):
        opened = _opened(path)
        for frame in own:
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
    """Values of 32 bits in 16, where they fit."""
    if stored.dtype.itemsize <= 2:
        return stored
    lowest, highest = int(stored.min()), int(stored.max())
    for kind in (np.int16, np.uint16):
        limits = np.iinfo(kind)
        if limits.min <= lowest and highest <= limits.max:
            return stored.astype(kind)
    return stored
