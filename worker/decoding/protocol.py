"""What the parent asks the decoding child, and what it answers."""

from dataclasses import dataclass
from typing import Final

import numpy as np

READY: Final = b"ready\n"


@dataclass(frozen=True, slots=True)
class Question:
    """One frame to decode, and what the image header says of it."""

    transfer_syntax: str
    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    keep_unused_bits: bool
    stream_bytes: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of it: either an error, or values that follow."""

    error: str = ""
    dtype: str = ""
    shape: tuple[int, ...] = ()

    @property
    def values_bytes(self) -> int:
        """How many bytes follow."""
        if not self.dtype:
            return 0
        count = 1
        for side in self.shape:
            count *= side
        return count * np.dtype(self.dtype).itemsize
