"""Stored pixel values by decoders that are not ours: DCMTK's tools, and for JPEG 2000 imagecodecs' OpenJPEG.

DCMTK 3.6 has no JPEG 2000. imagecodecs brings a build of OpenJPEG of its own; the product decodes through
pylibjpeg's.
"""

import subprocess
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames

from neurotriage.dicom.attributes import whole_number

# Each writes an uncompressed copy, little endian, and fails for the syntaxes of the others. ``+cn``: stored
# values are no matter of colour.
_TOOLS: Final = (("dcmconv",), ("dcmdrle",), ("dcmdjpls",), ("dcmdjpeg", "+cn"))
_J2K: Final = "1.2.840.10008.1.2.4.9"
_TOOL_LIMIT_S: Final = 60


def public_files() -> Iterator[tuple[str, Path]]:
    """Name and path of pydicom's own test files and of those in the wheel ``pydicom-data``, sorted."""
    own = Path(pydicom.__file__).parent / "data"
    store = find_spec("data_store")
    assert store is not None
    assert store.origin is not None
    for root in (own / "test_files", own / "charset_files", Path(store.origin).parent / "data"):
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            yield f"{root.name}/{path.relative_to(root)}", path


def by_dcmtk(path: Path, folder: Path) -> NDArray[np.integer] | None:
    """The stored values (frames, rows, columns) of a grey image; None where DCMTK has none to compare.

    ``folder`` takes the uncompressed copy.
    """
    copy = folder / "uncompressed.dcm"
    for tool, *options in _TOOLS:
        copy.unlink(missing_ok=True)
        command = [tool, *options, "+te", str(path), str(copy)]
        done = subprocess.run(command, check=False, capture_output=True, timeout=_TOOL_LIMIT_S)
        if done.returncode == 0 and copy.exists():
            return _uncompressed(copy)
    return None


def by_openjpeg(path: Path) -> NDArray[np.integer] | None:
    """The stored values (frames, rows, columns) of a grey JPEG 2000 image; None for other images.

    Where codestream and header differ in sign, the header's is meant (PS3.5 8.2.4 has both agree).
    """
    dataset = _read(path)
    meta = getattr(dataset, "file_meta", Dataset())
    if not str(meta.get("TransferSyntaxUID", "")).startswith(_J2K) or not _is_grey(dataset):
        return None
    count = whole_number(dataset, "NumberOfFrames") or 1
    frames = [
        np.asarray(imagecodecs.jpeg2k_decode(stream))
        for stream in generate_frames(dataset.PixelData, number_of_frames=count)
    ]
    stored = np.stack(frames)
    bits = whole_number(dataset, "BitsStored") or stored.dtype.itemsize * 8
    signed = whole_number(dataset, "PixelRepresentation") == 1
    if signed and stored.dtype.kind == "u":
        shift = stored.dtype.itemsize * 8 - bits
        stored = (stored << shift).view(f"i{stored.dtype.itemsize}") >> shift
    return stored


def _uncompressed(path: Path) -> NDArray[np.integer] | None:
    dataset = _read(path)
    bits = whole_number(dataset, "BitsAllocated")
    if "PixelData" not in dataset or not _is_grey(dataset) or bits not in (8, 16, 32):
        return None
    kind = "i" if whole_number(dataset, "PixelRepresentation") == 1 else "u"
    shape = tuple(whole_number(dataset, name) or 1 for name in ("NumberOfFrames", "Rows", "Columns"))
    values = np.frombuffer(dataset.PixelData, f"<{kind}{bits // 8}")
    return values[: np.prod(shape)].reshape(shape)


def _is_grey(dataset: Dataset) -> bool:
    return str(dataset.get("PhotometricInterpretation", "")).startswith("MONOCHROME")


def _read(path: Path) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(path, force=True)
