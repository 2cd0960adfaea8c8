"""The pictures of a study's results as PNG files, for people without a viewer."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image
from pydicom import dcmread
from pydicom.uid import (
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from neurotriage.core.result_json import ObjectState
from neurotriage.core.storage import Storage, write_durably

_WITH_PICTURES: Final = (SecondaryCaptureImageStorage, MultiFrameTrueColorSecondaryCaptureImageStorage)


def write_pictures(storage: Storage, objects: Sequence[ObjectState], folder: Path) -> list[Path]:
    """Write the page and the overlays into ``folder``: ``page.png``, ``overlay-01.png``, ...

    Returns the files written. Raises ``OSError`` if an object is gone or the folder cannot be written.
    """
    written = []
    for kind in dict.fromkeys(item.kind for item in objects if item.sop_class_uid in _WITH_PICTURES):
        places = dict.fromkeys(item.path for item in objects if item.kind == kind)  # once per destination
        pictures = [picture for place in places for picture in _pictures(storage.root / place)]
        digits = max(2, len(str(len(pictures))))
        for number, picture in enumerate(pictures, start=1):
            name = kind if len(pictures) == 1 else f"{kind}-{number:0{digits}d}"
            written.append(folder / f"{name}.png")
            write_durably(written[-1], picture, private=False)
    return written


def _pictures(path: Path) -> Iterator[bytes]:
    """Each frame of an object as PNG."""
    dataset = dcmread(path)
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    for frame in np.reshape(dataset.pixel_array, (-1, rows, columns, 3)):
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "PNG")
        yield file.getvalue()
