"""The pixel data of one instance, checked against the header and read frame by frame."""

import io
import warnings
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Final

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset, read_file_meta_info, read_partial
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from neurotriage.core.errors import Refused
from neurotriage.core.values import ReasonCode
from neurotriage.dicom.attributes import described, value, whole_number
from neurotriage.dicom.headers import MALFORMED, first_line, refusal_of, text
from worker.decoding import (
    DecodeRequest,
    Fragments,
    ImageSize,
    StreamHeader,
    process_decoder,
    read_stream,
    starts_with_item,
)
from worker.imaging.units import Scaling, scaling_of

# Far above any CT or MR matrix; a header that states more is wrong or of no slice.
MAX_SIDE_PX: Final = 16384
# 4096 x 4096 is four times the largest CT or MR matrix in use. One frame in float32 is then 64 MB.
MAX_FRAME_PX: Final = 1 << 24
# Limit of a deflated data set (PS3.5 A.5), which cannot be read in parts.
MAX_INFLATED_BYTES: Final = 256 << 20

_GREY: Final = ("MONOCHROME1", "MONOCHROME2")
_UNDEFINED: Final = 0xFFFFFFFF
_START_BYTES: Final = 16
_FLOAT_PIXEL_DATA, _PIXEL_DATA = 0x7FE00008, 0x7FE00010
_BROKEN: Final = (*MALFORMED, RuntimeError, RecursionError, MemoryError, InvalidDicomError)


@dataclass(frozen=True, slots=True)
class _Element:
    """The location of the Pixel Data element's value."""

    offset: int  # in bytes from the start of the file or of the inflated data set
    length: int | None  # in bytes; None: undefined
    held: int  # bytes from the offset to the end of the value, or of the file
    vr: str
    start: bytes  # the first bytes


@dataclass(frozen=True, eq=False)
class Pixels:
    """The checked pixel data of one instance, ready to be read frame by frame."""

    path: Path
    dataset: FileDataset  # without the pixel data
    syntax: UID
    rows: int
    columns: int
    frames: int
    fragments: Fragments | None  # of compressed data
    _element: _Element
    _inflated: bytes | None

    def frame(self, number_from_1: int | None = None) -> NDArray[np.float32]:
        """One frame (rows, columns) in true units (HU for CT); ``None``: the first. Raises ``Refused``."""
        return self.scaling(number_from_1).true_units(self.stored(number_from_1))

    def scaling(self, number_from_1: int | None = None) -> Scaling:
        """The conversion of a frame's stored values to true units. Raises ``Refused``."""
        return scaling_of(self.dataset, self._index(number_from_1))

    def stored(self, number_from_1: int | None = None) -> NDArray[np.integer]:
        """One frame (rows, columns) as stored, reduced to Bits Stored (PS3.5 8.1.1).

        Raises ``Refused``; its subclass ``DecoderEnded`` where decoding ended the decoding process.
        """
        index = self._index(number_from_1)
        shift = self._misplaced_bits
        if self.fragments is None:
            stored = self._native(index)
            return _aligned(stored, self.dataset) if shift is not None else stored
        stored = self._decoded(self.fragments, index, keep_unused_bits=bool(shift))
        return _aligned(stored, self.dataset) if shift else stored

    def _index(self, number_from_1: int | None) -> int:
        index = (number_from_1 or 1) - 1
        if not 0 <= index < self.frames:
            raise _broken(f"there is no frame {index + 1}, the instance has {self.frames}")
        return index

    def _native(self, index: int) -> NDArray[np.integer]:
        """An uncompressed frame, by bits, sign and byte order of the header (PS3.5 8.1.1)."""
        sample_bytes = (whole_number(self.dataset, "BitsAllocated") or 0) // 8
        frame_bytes = self.rows * self.columns * sample_bytes
        begin = index * frame_bytes
        big = self.syntax == ExplicitVRBigEndian
        words = (
            big and sample_bytes == 1 and self._element.vr == "OW"
        )  # PS3.5 8.1.2: pairs of bytes are swapped
        spare = begin % 2 if words else 0
        with self._open() as file:
            file.seek(self._element.offset + begin - spare)
            data = file.read(frame_bytes + spare + ((frame_bytes + spare) % 2 if words else 0))
        if words:
            data = np.frombuffer(data[: len(data) // 2 * 2], "<u2").byteswap().tobytes()
        kind = "i" if self._signed else "u"
        values = np.frombuffer(data, f"{'>' if big else '<'}{kind}{sample_bytes}", offset=spare)
        if values.size < self.rows * self.columns:
            raise _broken(f"the file ends within frame {index + 1}")
        stored: NDArray[np.integer] = values[: self.rows * self.columns].reshape(self.rows, self.columns)
        return stored.astype(stored.dtype.newbyteorder("="))

    def _decoded(self, fragments: Fragments, index: int, *, keep_unused_bits: bool) -> NDArray[np.integer]:
        """A compressed frame; its stream is checked here and decoded in a child process."""
        allocated = whole_number(self.dataset, "BitsAllocated") or 0
        image = ImageSize(self.rows, self.columns, 1, allocated)
        most = 2 * image.frame_bytes + (1 << 20)
        if fragments.length(index) > most:
            raise _broken(
                f"the compressed stream holds {fragments.length(index)} bytes, {self.rows} x {self.columns} "
                f"pixels of the image header fill {most} at most"
            )
        try:
            with self._open() as file:
                stream = fragments.read(file, index)
            header = self._stream_header(stream)
            header.check(len(stream), image)
        except ValueError as error:
            raise _broken(first_line(error)) from error
        request = DecodeRequest(
            transfer_syntax=header.transfer_syntax,
            rows=self.rows,
            columns=self.columns,
            samples=1,
            bits_allocated=allocated,
            bits_stored=whole_number(self.dataset, "BitsStored") or allocated,
            signed=self._signed,
            keep_unused_bits=keep_unused_bits,
            stream_bytes=len(stream),
        )
        return process_decoder().decode(request, stream)

    def _stream_header(self, stream: bytes) -> StreamHeader:
        """The header of the stream itself, whatever the stated transfer syntax. Raises ``ValueError``."""
        header = read_stream(stream)
        if header is not None:
            return header
        if self.syntax.is_compressed:
            raise ValueError(f"the stream is none that can be decoded; the file says {self.syntax.name}")
        raise ValueError(_mislabelled(self.syntax))

    @property
    def oddity(self) -> str:
        """A defect of the pixel data, which can be decoded nevertheless; else empty."""
        wrong = self.fragments is not None and not self.syntax.is_compressed
        return _mislabelled(self.syntax) if wrong else ""

    @cached_property
    def _signed(self) -> bool:
        return whole_number(self.dataset, "PixelRepresentation") == 1

    @cached_property
    def _misplaced_bits(self) -> int | None:
        """The number of bits by which samples lie above bit 0: High Bit of old devices (PS3.5 8.1.1 notes).

        None where a sample fills Bits Allocated, or the header does not state its bits.
        """
        if self.fragments is not None and self.syntax != RLELossless:
            return None
        stored, allocated = (whole_number(self.dataset, name) for name in ("BitsStored", "BitsAllocated"))
        high = whole_number(self.dataset, "HighBit")
        if stored is None or allocated is None or not 0 < stored <= allocated:
            return None
        if high is None or not stored <= high + 1 <= allocated:
            high = stored - 1
        return None if stored == allocated else high + 1 - stored

    def _open(self) -> IO[bytes]:
        if self._inflated is not None:
            return io.BytesIO(self._inflated)
        try:
            return self.path.open("rb")
        except OSError as error:
            raise refusal_of(error, self.path, ReasonCode.UNREADABLE_PIXELS) from error


def decode_frame(path: Path, frame: int | None = None) -> NDArray[np.float32]:
    """One frame of a file, shape (rows, columns), float32, in true units.

    CT: Hounsfield units by the Modality LUT's slope and intercept (PS3.3 C.11.1), also per frame
    (C.7.6.16.2.9), never below -1024, whatever PhotometricInterpretation; padding (C.7.5.1.1.2) becomes air.
    MR: rescaled signal, padding 0, MONOCHROME1 turned into MONOCHROME2's sense. ``frame`` counts from 1.
    Raises ``Refused``.
    """
    return open_pixels(path).frame(frame)


def open_pixels(path: Path) -> Pixels:
    """Read the header of a DICOM file (PS3.10) and check it against the size of the pixel data.

    Nothing behind the pixel data is read. Raises ``Refused``, and ``OSError`` where the storage fails.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset, element, inflated = _read(path)
    except OSError as error:
        raise refusal_of(error, path, ReasonCode.NOT_DICOM) from error
    except (zlib.error, *_BROKEN) as error:
        raise Refused(ReasonCode.NOT_DICOM, f"the file cannot be read: {first_line(error)}") from error
    rows, columns, frames = _checked_size(dataset)
    if element is None:
        raise Refused(ReasonCode.NO_PIXELS, "the instance has no pixel data")
    syntax = _transfer_syntax(dataset)
    fragments = None
    if _is_encapsulated(element, syntax, dataset, rows * columns * frames):
        with io.BytesIO(inflated) if inflated is not None else path.open("rb") as file:
            fragments = _fragments(file, element, syntax, dataset, frames)
    else:
        _check_native(dataset, element, rows * columns * frames)
    return Pixels(path, dataset, syntax, rows, columns, frames, fragments, element, inflated)


def _read(path: Path) -> tuple[FileDataset, _Element | None, bytes | None]:
    """Header and location of the pixel data, and the inflated data set if it was deflated."""
    with path.open("rb") as file:
        meta = _file_meta(path)
        deflated = text(meta, "TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
        inflated = _inflated(file) if deflated else None
        source = file if inflated is None else io.BytesIO(inflated)
        elements: list[_Element] = []

        def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
            if tag == _PIXEL_DATA:
                elements.append(_element(source, vr, length))
            return int(tag) >= _FLOAT_PIXEL_DATA

        if inflated is None:
            dataset = read_partial(file, at_pixels, force=True)
        else:
            body = read_dataset(source, is_implicit_VR=False, is_little_endian=True, stop_when=at_pixels)
            dataset = FileDataset(path, body, file_meta=meta, is_implicit_VR=False, is_little_endian=True)
    return dataset, elements[0] if elements else None, inflated


def _element(source: IO[bytes], vr: str | None, length: int) -> _Element:
    """The element whose value begins at the position of ``source``, which is kept."""
    offset = source.tell()
    start = source.read(_START_BYTES)
    rest = source.seek(0, io.SEEK_END) - offset
    source.seek(offset)
    stated = None if length == _UNDEFINED else length
    held = rest if stated is None else min(stated, rest)
    return _Element(offset, stated, held, vr or "OW", start[:held])


def _file_meta(path: Path) -> FileMetaDataset:
    try:
        return read_file_meta_info(path)
    except _BROKEN:
        return FileMetaDataset()  # a data set without File Meta (PS3.10 7.1)


def _inflated(file: IO[bytes]) -> bytes:
    """The data set behind the File Meta (PS3.10 7.1), inflated within bounds."""
    meta_bytes = int.from_bytes(file.read(144)[140:], "little")
    file.seek(144 + meta_bytes)
    packed = file.read(MAX_INFLATED_BYTES + 1)
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    data = unpacker.decompress(packed, MAX_INFLATED_BYTES)
    if unpacker.unconsumed_tail or len(packed) > MAX_INFLATED_BYTES:
        raise ValueError(f"its deflated data set holds more than {MAX_INFLATED_BYTES >> 20} MB")
    return data


def _checked_size(dataset: Dataset) -> tuple[int, int, int]:
    photometric = text(dataset, "PhotometricInterpretation").upper()
    if whole_number(dataset, "SamplesPerPixel") not in (None, 1) or photometric not in _GREY:
        if not photometric and "Rows" not in dataset:
            raise Refused(ReasonCode.NO_PIXELS, "the instance has no pixel data")
        raise Refused(ReasonCode.COLOUR, f"a colour picture ({photometric or 'unknown'}), not a grey slice")
    rows, columns = whole_number(dataset, "Rows") or 0, whole_number(dataset, "Columns") or 0
    if rows < 1 or columns < 1:
        raise _broken(f"{described(dataset, 'Rows')}, {described(dataset, 'Columns')}")
    if rows > MAX_SIDE_PX or columns > MAX_SIDE_PX or rows * columns > MAX_FRAME_PX:
        side = int(MAX_FRAME_PX**0.5)
        raise _broken(f"the header claims {rows} x {columns} pixels a frame; {side} x {side} can be read")
    # Writers that leave 0 or no value in a single-frame object mean one frame.
    frames = whole_number(dataset, "NumberOfFrames") or 1
    if frames < 1:
        raise _broken(described(dataset, "NumberOfFrames"))
    return rows, columns, frames


def _transfer_syntax(dataset: FileDataset) -> UID:
    """The Transfer Syntax UID of the File Meta; without one, by the encoding of the data set."""
    meta = getattr(dataset, "file_meta", None)
    stated = text(meta, "TransferSyntaxUID") if meta is not None else ""
    if stated:
        syntax = UID(stated, validation_mode=pydicom.config.IGNORE)
        if not syntax.is_transfer_syntax:
            raise _broken(f"transfer syntax {stated} cannot be decoded")
        return syntax
    implicit, little = dataset.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _is_encapsulated(element: _Element, syntax: UID, dataset: Dataset, voxels: int) -> bool:
    """Whether the pixel data are compressed, by their own bytes: stated transfer syntaxes may be wrong."""
    if element.length is None:
        return True  # PS3.5 A.4: only encapsulated data have no length
    native_bytes = _native_bytes(dataset, voxels)
    if starts_with_item(element.start):
        return syntax.is_compressed or element.held not in (native_bytes, native_bytes + 1)
    whole = element.held >= native_bytes > 0
    return not whole and (syntax.is_compressed or _starts_stream(element.start))


def _fragments(file: IO[bytes], element: _Element, syntax: UID, dataset: Dataset, frames: int) -> Fragments:
    if not starts_with_item(element.start):
        if frames == 1 and _starts_stream(element.start):
            return Fragments.bare(element.offset, element.held)
        raise _broken("the pixel data holds no fragment" if syntax.is_compressed else _mislabelled(syntax))
    offsets = value(dataset, "ExtendedOffsetTable")
    known = np.frombuffer(offsets[: len(offsets) // 8 * 8], "<u8") if isinstance(offsets, bytes) else ()
    end = None if element.length is None else element.offset + element.held
    try:
        return Fragments.find(file, element.offset, frames, [int(offset) for offset in known], end=end)
    except ValueError as error:
        raise _broken(first_line(error)) from error


def _native_bytes(dataset: Dataset, voxels: int) -> int:
    return voxels * (whole_number(dataset, "BitsAllocated") or 0) // 8


def _check_native(dataset: Dataset, element: _Element, voxels: int) -> None:
    """Native data must be complete (PS3.5 8.1.1), so that no memory is allocated for a wrong header."""
    bits = whole_number(dataset, "BitsAllocated") or 0
    if bits not in (8, 16, 32):
        raise _broken(f"{described(dataset, 'BitsAllocated')}; 8, 16 or 32 can be read")
    needed = _native_bytes(dataset, voxels)
    if element.held < needed:
        size = f"{described(dataset, 'Rows')}, {described(dataset, 'Columns')}, {bits} bits"
        raise _broken(
            f"the pixel data is truncated or its size lies: {element.held} bytes of {needed} ({size})"
        )


def _starts_stream(start: bytes) -> bool:
    return start[:3] == b"\xff\xd8\xff" or start[:4] == b"\xff\x4f\xff\x51"


def _mislabelled(syntax: UID) -> str:
    return f"compressed data labelled with an uncompressed transfer syntax, {syntax.name}"


def _aligned(stored: NDArray[np.integer], dataset: Dataset) -> NDArray[np.integer]:
    """Samples moved to bit 0, without bits above or below them, such as old overlays (PS3.5 8.1.1).

    Signed samples keep their sign, which is the highest bit of Bits Stored.
    """
    allocated = stored.dtype.itemsize * 8
    bits = whole_number(dataset, "BitsStored") or allocated
    high = whole_number(dataset, "HighBit")
    if high is None or not bits <= high + 1 <= allocated:
        high = bits - 1
    aligned: NDArray[np.integer] = (stored << (allocated - 1 - high)) >> (allocated - bits)
    return aligned


def _broken(sentence: str) -> Refused:
    return Refused(ReasonCode.UNREADABLE_PIXELS, sentence)
