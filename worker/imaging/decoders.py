"""The lossless and 12-bit JPEG processes, which pydicom's own plug-ins do not decode.

A pydicom decoder plug-in over ``imagecodecs`` (BSD): pydicom asks the module for ``is_available`` and
``DECODER_DEPENDENCIES`` and calls the registered function once a frame.
"""

from typing import Final

import imagecodecs
import numpy as np
from pydicom.pixels.decoders.base import DecodeRunner, get_decoder
from pydicom.uid import UID, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1

_LABEL: Final = "imagecodecs"
_SYNTAXES: Final = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1)
DECODER_DEPENDENCIES: Final = dict.fromkeys(_SYNTAXES, (_LABEL, "numpy"))

# Start of frame: SOF0 to SOF15 without the tables DHT (C4), JPG (C8) and DAC (CC); ISO/IEC 10918-1 B.1.1.3.
_START_OF_FRAME: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def register() -> None:
    """Make the plug-in known to pydicom; calling it again changes nothing."""
    for uid in _SYNTAXES:
        decoder = get_decoder(uid)
        if _LABEL not in decoder.available_plugins:
            decoder.add_plugin(_LABEL, (__name__, "decode"))


def is_available(uid: str) -> bool:
    """Whether the plug-in decodes a transfer syntax."""
    return UID(uid) in DECODER_DEPENDENCIES


def decode(src: bytes, runner: DecodeRunner) -> bytes:
    """One frame's stored values, little endian.

    Raises ``ValueError`` where the stream's size is not the header's: nothing is allocated by a lying one.
    """
    size = _stream_size(src)
    if size != (runner.rows, runner.columns):
        raise ValueError(f"the JPEG stream says {size} rows and columns, the header says otherwise")
    values: np.ndarray[tuple[int, ...], np.dtype[np.generic]] = imagecodecs.jpeg_decode(src)
    runner.set_option("bits_allocated", values.dtype.itemsize * 8)
    return values.tobytes()


def _stream_size(src: bytes) -> tuple[int, int]:
    """(rows, columns) of a JPEG stream's first frame header (ISO/IEC 10918-1 B.2.2)."""
    place = 2
    while place + 9 <= len(src):
        if src[place] != 0xFF:
            raise ValueError("the JPEG stream is broken before its frame header")
        marker = src[place + 1]
        if marker in _START_OF_FRAME:
            rows, columns = src[place + 5 : place + 7], src[place + 7 : place + 9]
            return int.from_bytes(rows, "big"), int.from_bytes(columns, "big")
        # 0xFF may be repeated as a fill byte before a marker.
        place += 1 if marker == 0xFF else 2 + int.from_bytes(src[place + 2 : place + 4], "big")
    raise ValueError("the JPEG stream has no frame header")
