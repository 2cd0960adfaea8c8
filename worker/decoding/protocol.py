"""The pipe between the worker and the child that decodes: a request and its stream in, a response out."""

from dataclasses import dataclass
from typing import Final

import numpy as np

READY: Final = b"ready\n"


@dataclass(frozen=True, slots=True)
class DecodeRequest:
    """A frame to decode, as its image header describes it; ``stream_bytes`` of its stream follow."""

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
class DecodeResponse:
    """Either an error, or the type and shape of the stored values that follow (C order)."""

    error: str = ""
    dtype: str = ""
    shape: tuple[int, ...] = ()

    @property
    def values_bytes(self) -> int:
        """Length of the values that follow; 0 after an error."""
        if not self.dtype:
            return 0
        count = 1
        for side in self.shape:
            count *= side
        return count * np.dtype(self.dtype).itemsize
