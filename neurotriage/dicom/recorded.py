"""What is recorded of a received instance: its header, where it lies, and what it rejects."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from neurotriage.core.errors import Refused
from neurotriage.dicom.data_set import data_set_offset, digest_of_file
from neurotriage.dicom.headers import (
    UNREADABLE_VALUE,
    InstanceHeader,
    describe,
    read_header,
    uid,
)
from neurotriage.dicom.part10 import file_start
from neurotriage.dicom.placement import placement_of
from neurotriage.dicom.rejections import read_rejection

# Of which the spool's own File Meta takes a quarter.
_START_BYTES: Final = 1 << 12
# Float, Double Float and other Pixel Data (PS3.3 C.7.6.3, C.7.6.24).
_PIXELS: Final = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
# Whoever reads the pixels goes by the File Meta, also where it is wrong: so does the header.
_NOT_PLAIN: Final = frozenset((DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian))


def read_recorded(path: Path, digest: str = "") -> InstanceHeader:
    """The header of a file with its placement and rejection note; ``digest``: of its data set, where known.

    Raises as ``read_header``, and ``Refused`` (NOT_RECORDED) as ``read_rejection``.
    """
    dataset = _data_set(path)
    if dataset is None:
        dataset = read_header(path)
    known = describe(dataset, path, digest or digest_of_file(path))
    return replace(known, placement=placement_of(dataset), rejection=read_rejection(dataset))


def _data_set(path: Path) -> Dataset | None:
    """The data set of a file with an ordinary File Meta, as the spool writes it, up to its pixel data.

    Without what pydicom makes of the File Meta, which takes as long as the data set does. None where the file
    is anything but ordinary, or cannot be read: ``read_header`` knows what to say of it.
    """
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            start = file.read(_START_BYTES)
            meta = file_start(start)
            if meta is None or meta.data_set_at != data_set_offset(start):
                return None
            if meta.transfer_syntax_uid in _NOT_PLAIN:
                return None
            file.seek(meta.data_set_at)
            implicit = meta.transfer_syntax_uid == ImplicitVRLittleEndian
            dataset = read_dataset(file, implicit, is_little_endian=True, stop_when=_at_pixels)
    except (Refused, RecursionError, MemoryError, *UNREADABLE_VALUE):
        return None
    # The File Meta may name what is not here.
    return dataset if uid(dataset, "SOPInstanceUID") and uid(dataset, "SOPClassUID") else None


def _at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
    return tag in _PIXELS
