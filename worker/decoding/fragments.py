"""Encapsulated pixel data to frames: which fragments belong to which (PS3.5 A.4)."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Final, Self

from neurotriage.core.wording import counted

_ITEM: Final = b"\xfe\xff\x00\xe0"
_ITEM_HEAD_BYTES: Final = 8
# PS3.5 A.4 sets no limit; far above what any encoder writes.
_MAX_FRAGMENTS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class _Fragment:
    offset: int  # offset in the file of its first byte after the item header
    length: int
    whole: bool  # False: the file ends within it


@dataclass(frozen=True, slots=True)
class Fragments:
    """The fragments of one instance, grouped by frame. Their bytes are read from the file on demand."""

    frames: tuple[tuple[_Fragment, ...], ...]

    @classmethod
    def find(
        cls, file: IO[bytes], offset: int, frames: int, extended_offsets: Sequence[int] = (),
        *, end: int | None = None
    ) -> Self:  # fmt: skip
        """Group the fragments of ``frames`` frames; ``offset`` is the file offset of the first item.

        Nothing from offset ``end`` on is read. A single frame has all fragments. As many fragments as frames
        are a frame each. Otherwise frames begin where the Extended Offset Table (its values are
        ``extended_offsets``) or the Basic Offset Table says, or else at each fragment that begins a stream.
        Raises ``ValueError`` where there is no fragment, or the fragments cannot be assigned to frames.
        """
        table, fragments = _items(file, offset, end)
        if not any(fragment.length for fragment in fragments):
            raise ValueError("the pixel data holds no fragment")
        if frames == 1:
            return cls((tuple(fragments),))
        if len(fragments) == frames:
            return cls(tuple((fragment,) for fragment in fragments))
        first = fragments[0].offset - _ITEM_HEAD_BYTES
        starts = {fragment.offset - _ITEM_HEAD_BYTES - first: at for at, fragment in enumerate(fragments)}
        for offsets in (extended_offsets, table):
            if len(offsets) == frames and offsets[0] == 0 and all(start in starts for start in offsets):
                return cls(_grouped(fragments, [starts[start] for start in offsets]))
        begins = [at for at, fragment in enumerate(fragments) if _begins_stream(file, fragment)]
        if len(begins) == frames and begins[0] == 0:
            return cls(_grouped(fragments, begins))
        raise ValueError(f"{counted(len(fragments), 'fragment')} cannot be told apart into {frames} frames")

    @classmethod
    def bare(cls, offset: int, length: int) -> Self:
        """A single frame of ``length`` bytes, written without item headers as some writers do."""
        return cls(((_Fragment(offset, length, True),),))

    def read(self, file: IO[bytes], index: int) -> bytes:
        """The stream of one frame (0-based). Raises ``ValueError`` where the file ends within it."""
        parts = []
        for fragment in self.frames[index]:
            if not fragment.whole:
                raise ValueError("the file ends within the compressed pixel data")
            file.seek(fragment.offset)
            parts.append(file.read(fragment.length))
        return b"".join(parts)

    def length(self, index: int) -> int:
        """Length in bytes of the stream of one frame (0-based)."""
        return sum(fragment.length for fragment in self.frames[index])


def starts_with_item(start: bytes) -> bool:
    """Whether pixel data begin with an item tag (FFFE,E000), as encapsulated pixel data do."""
    return start[:4] == _ITEM


def _items(file: IO[bytes], offset: int, end: int | None) -> tuple[tuple[int, ...], list[_Fragment]]:
    """The Basic Offset Table and the fragments, up to the first byte that is no item."""
    file_end = file.seek(0, 2)
    end = file_end if end is None else min(end, file_end)
    table: tuple[int, ...] | None = None
    fragments: list[_Fragment] = []
    while offset + _ITEM_HEAD_BYTES <= end:
        file.seek(offset)
        head = file.read(_ITEM_HEAD_BYTES)
        if head[:4] != _ITEM or len(fragments) > _MAX_FRAGMENTS:
            break
        offset, length = offset + _ITEM_HEAD_BYTES, int.from_bytes(head[4:], "little")
        held = min(length, end - offset)
        if table is None:
            table = struct.unpack(f"<{held // 4}L", file.read(held // 4 * 4))
        else:
            fragments.append(_Fragment(offset, held, held == length))
        offset += length
    return table or (), fragments


def _grouped(fragments: list[_Fragment], begins: list[int]) -> tuple[tuple[_Fragment, ...], ...]:
    ends = [*begins[1:], len(fragments)]
    return tuple(tuple(fragments[begin:end]) for begin, end in zip(begins, ends, strict=True))


def _begins_stream(file: IO[bytes], fragment: _Fragment) -> bool:
    file.seek(fragment.offset)
    start = file.read(min(4, fragment.length))
    return start[:3] == b"\xff\xd8\xff" or start in (b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0c")
