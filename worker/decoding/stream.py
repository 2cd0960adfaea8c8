"""Headers of compressed streams, read before anything is decoded or allocated."""

import struct
from dataclasses import dataclass
from typing import Final, Literal

from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSNearLossless,
    RLELossless,
)

# Start of frame: SOF0 to SOF15 without the tables DHT (C4), JPG (C8) and DAC (CC); ISO/IEC 10918-1 B.1.1.3.
_START_OF_FRAME: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_FRAME_LS: Final = 0xF7  # ISO/IEC 14495-1 C.1.1
_START_OF_SCAN: Final = 0xDA
_END_OF_IMAGE: Final = b"\xff\xd9"
_LOSSLESS: Final = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
# Start of codestream and size: ISO/IEC 15444-1 A.4.1 and A.5.1; Rsiz bit 14 says Part 15 (HTJ2K).
_CODESTREAM: Final = b"\xff\x4f\xff\x51"
_BOXED: Final = b"\x00\x00\x00\x0cjP  "
_HIGH_THROUGHPUT: Final = 0x4000
_MAX_TILES: Final = 65_535  # of one image, ISO/IEC 15444-1 A.4.2
_RLE_HEADER_BYTES: Final = 64
_RLE_MOST_SEGMENTS: Final = 15

StreamKind = Literal["JPEG", "JPEG-LS", "JPEG 2000", "HTJ2K", "RLE"]


@dataclass(frozen=True, slots=True)
class ImageSize:
    """Size of one frame as the image header states it."""

    rows: int
    columns: int
    samples: int
    bits_allocated: int

    @property
    def frame_bytes(self) -> int:
        """Length of a decoded frame."""
        return self.rows * self.columns * self.samples * ((self.bits_allocated + 7) // 8)


@dataclass(frozen=True, slots=True)
class StreamHeader:
    """The stream of one frame: its kind, its size where the format states one, and the decoder for it."""

    kind: StreamKind
    transfer_syntax: UID  # of the decoder, whatever the file is labelled
    rows: int | None  # None: RLE says no size
    columns: int | None
    samples: int
    bits: int
    whole: bool = True  # JPEG and JPEG-LS: the end marker is there

    def check(self, stream_bytes: int, image: ImageSize) -> None:
        """Raises ``ValueError``, naming both sizes, where the stream does not fit the image header."""
        if self.kind == "RLE":
            self._check_rle(stream_bytes, image)
            return
        if (self.rows, self.columns) != (image.rows, image.columns):
            raise ValueError(
                f"the {self.kind} stream holds {self.rows} x {self.columns} pixels, "
                f"the image header says {image.rows} x {image.columns}"
            )
        if not self.whole:  # libjpeg would fill what is missing with grey, CharLS may not end
            raise ValueError(f"the {self.kind} stream is cut: it has no end marker (EOI)")
        if self.samples != image.samples:
            raise ValueError(
                f"the {self.kind} stream holds {self.samples} samples a pixel, "
                f"the image header says {image.samples}"
            )
        if self.bits > image.bits_allocated:
            raise ValueError(
                f"the {self.kind} stream holds {self.bits} bits a sample, "
                f"the image header allocates {image.bits_allocated}"
            )

    def _check_rle(self, stream_bytes: int, image: ImageSize) -> None:
        segments = image.samples * (image.bits_allocated // 8)
        if self.samples != segments:
            raise ValueError(
                f"the RLE stream holds {self.samples} segments, the image header asks for {segments}"
            )
        # The worst PackBits encoder writes two bytes for each byte (PS3.5 G.3.1).
        most = _RLE_HEADER_BYTES + 2 * image.frame_bytes + 2 * segments
        if stream_bytes > most:
            raise ValueError(
                f"the RLE stream holds {stream_bytes} bytes, {image.rows} x {image.columns} pixels of the "
                f"image header fill {most} at most"
            )


def read_stream(data: bytes) -> StreamHeader | None:
    """The header of a stream, recognised by its first bytes; None where the format is unknown.

    Raises ``ValueError`` where the format is known and the header is broken.
    """
    if data[:2] == b"\xff\xd8":
        return _jpeg(data)
    if data[:4] == _CODESTREAM:
        return _jpeg_2000(data)
    if data[:8] == _BOXED:
        return _jpeg_2000(data[_codestream_in_boxes(data) :])
    return _rle(data)


def _jpeg(data: bytes) -> StreamHeader:
    """The frame header of a JPEG or JPEG-LS stream (ISO/IEC 10918-1 B.2.2, 14495-1 C.2.2)."""
    offset = 2
    while offset + 10 <= len(data):
        if data[offset] != 0xFF:
            raise ValueError("the JPEG stream is broken before its frame header")
        marker = data[offset + 1]
        if marker in _START_OF_FRAME or marker == _START_OF_FRAME_LS:
            bits, rows, columns, samples = struct.unpack(">BHHB", data[offset + 4 : offset + 10])
            kind: StreamKind = "JPEG-LS" if marker == _START_OF_FRAME_LS else "JPEG"
            # In coded data no byte above 0x7F but a marker follows 0xFF (ISO/IEC 10918-1 B.1.1.5).
            whole = _END_OF_IMAGE in data[offset:]
            return StreamHeader(kind, _jpeg_syntax(marker), rows, columns, samples, bits, whole)
        if marker == _START_OF_SCAN:
            break
        # 0xFF may be repeated as a fill byte before a marker.
        offset += 1 if marker == 0xFF else 2 + int.from_bytes(data[offset + 2 : offset + 4], "big")
    raise ValueError("the JPEG stream has no frame header")


def _jpeg_syntax(marker: int) -> UID:
    if marker == _START_OF_FRAME_LS:
        return JPEGLSNearLossless
    if marker in _LOSSLESS:
        return JPEGLosslessSV1
    return JPEGBaseline8Bit if marker == 0xC0 else JPEGExtended12Bit


def _jpeg_2000(data: bytes) -> StreamHeader:
    """The SIZ segment of a codestream (ISO/IEC 15444-1 A.5.1)."""
    try:
        capability, width, height, left, top, *tiles, samples = struct.unpack(">H8IH", data[6:42])
        bits, step_x, step_y = struct.unpack(">3B", data[42:45])
    except struct.error as error:
        raise ValueError("the JPEG 2000 stream is cut in its header") from error
    kind: StreamKind = "HTJ2K" if capability & _HIGH_THROUGHPUT else "JPEG 2000"
    tile_width, tile_height, tile_left, tile_top = tiles
    if not (step_x and step_y and tile_width and tile_height and left < width and top < height):
        raise ValueError(f"the {kind} stream states no size")
    across, down = -(-(width - tile_left) // tile_width), -(-(height - tile_top) // tile_height)
    if across * down > _MAX_TILES:
        raise ValueError(f"the {kind} stream is cut into {across} x {down} tiles, more than the format has")
    rows, columns = -(-height // step_y) - -(-top // step_y), -(-width // step_x) - -(-left // step_x)
    syntax = HTJ2K if kind == "HTJ2K" else JPEG2000
    return StreamHeader(kind, syntax, rows, columns, samples, (bits & 0x7F) + 1)


def _codestream_in_boxes(data: bytes) -> int:
    """Offset of the codestream in a JP2 file (ISO/IEC 15444-1 annex I), which DICOM does not allow."""
    offset = 0
    while offset + 8 <= len(data):
        length, name = int.from_bytes(data[offset : offset + 4], "big"), data[offset + 4 : offset + 8]
        head = 16 if length == 1 else 8
        if name == b"jp2c":
            return offset + head
        if length == 1:
            length = int.from_bytes(data[offset + 8 : offset + 16], "big")
        if length < head:
            break
        offset += length
    raise ValueError("the JPEG 2000 file holds no codestream")


def _rle(data: bytes) -> StreamHeader | None:
    """The header of 16 little endian numbers (PS3.5 G.5): segments, then where each begins."""
    if len(data) < _RLE_HEADER_BYTES:
        return None
    count, *offsets = struct.unpack("<16L", data[:_RLE_HEADER_BYTES])
    if not 1 <= count <= _RLE_MOST_SEGMENTS:
        return None
    begins = offsets[:count]
    if begins[0] != _RLE_HEADER_BYTES or begins != sorted(begins) or begins[-1] > len(data):
        return None
    return StreamHeader("RLE", RLELossless, None, None, count, 8)
