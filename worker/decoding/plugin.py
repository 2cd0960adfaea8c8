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


def register() -> None:
    """Register the plug-in with pydicom's decoders. Idempotent."""
    for uid in _SYNTAXES:
        decoder = get_decoder(uid)
        if _LABEL not in decoder.available_plugins:
            decoder.add_plugin(_LABEL, (__name__, "decode"))


def is_available(uid: str) -> bool:
    """Whether the plug-in decodes a transfer syntax."""
    return UID(uid) in DECODER_DEPENDENCIES


def decode(src: bytes, runner: DecodeRunner) -> bytes:
    """The stored values of one frame, little endian. ``src``: a whole stream of checked size.

    Raises imagecodecs' errors for a stream that cannot be decoded.
    """
    values: np.ndarray[tuple[int, ...], np.dtype[np.generic]] = imagecodecs.jpeg_decode(src)
    runner.set_option("bits_allocated", values.dtype.itemsize * 8)
    return values.tobytes()
