"""Small compressed objects made for tests."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_encoder
from pydicom.uid import UID, HTJ2KLossless, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from tests.imaging.made import slice_of, write

KINDS: Final = {
    "JPEG": JPEGLosslessSV1,
    "JPEG-LS": JPEGLSLossless,
    "JPEG 2000": JPEG2000Lossless,
    "HTJ2K": HTJ2KLossless,
    "RLE": RLELossless,
}


def stream_of(pixels: NDArray[np.uint16], kind: str) -> bytes:
    """One frame of 16 bits, lossless."""
    if kind == "RLE":
        rows, columns = pixels.shape
        options: dict[str, Any] = {
            "rows": rows, "columns": columns, "samples_per_pixel": 1, "number_of_frames": 1,
            "bits_allocated": 16, "bits_stored": 16, "pixel_representation": 0,
            "photometric_interpretation": "MONOCHROME2",
        }  # fmt: skip
        return bytes(get_encoder(RLELossless).encode(pixels.tobytes(), index=0, **options))
    encode = {
        "JPEG": imagecodecs.ljpeg_encode,
        "JPEG-LS": imagecodecs.jpegls_encode,
        "HTJ2K": imagecodecs.htj2k_encode,
        "JPEG 2000": imagecodecs.jpeg2k_encode,
    }[kind]
    options = {"reversible": True, "level": 0} if kind == "JPEG 2000" else {}
    return bytes(encode(pixels, **options))


def packed(dataset: Dataset, path: Path, fragments: Sequence[bytes], syntax: UID) -> Path:
    """The data set with these fragments for pixel data, labelled with a transfer syntax."""
    write(dataset, path)
    dataset.PixelData = encapsulate(list(fragments), has_bot=False)
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path)
    return path


def compressed_slice(path: Path, pixels: NDArray[np.uint16], kind: str = "RLE", **attributes: Any) -> Path:
    """One MR slice, compressed; ``attributes`` replace those of the header."""
    return packed(slice_of(pixels, **attributes), path, [stream_of(pixels, kind)], KINDS[kind])
