"""Encapsulated pixel data to frames: which fragments belong to which (PS3.5 A.4)."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Final, Self

from neurotriage.core.wording import counted

_ITEM: Final = b"\xfe\xff\x00\xe0"
_END: Final = b"\xfe\xff\xdd\xe0"
_ITEM_HEAD_BYTES: Final = 8
# A frame may be cut into any number of fragments; nobody cuts one into more than this.
_MAX_FRAGMENTS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class _Fragment:
    place: int  # of its first byte in the file
    length: int
    whole: bool


@dataclass(frozen=True, slots=True)
class Fragments:
    """The fragments of one instance by frame; their bytes stay in the file until they are asked for."""

    frames: tuple[tuple[_Fragment, ...], ...]

    @classmethod
    def find(
        cls, file: IO[bytes], place: int, frames: int, extended_offsets: Sequence[int] = (),
        *, end: int | None = None
    ) -> Self:  # fmt: skip
        """The fragments of ``frames`` frames, whose items begin at ``place`` and end before ``end``.

        A single frame is all its fragments. Of several, each fragment is one where the numbers agree; else
        the offset tables say where frames begin, or the fragments that begin a stream. Raises ``ValueError``
        where that cannot be told.
        """
        table, fragments = _items(file, place, end)
        if not any(fragment.length for fragment in fragments):
            raise ValueError("the pixel data holds no fragment")
        if frames == 1:
            return cls((tuple(fragments),))
        if len(fragments) == frames:
            return cls(tuple((fragment,) for fragment in fragments))
        first = fragments[0].place - _ITEM_HEAD_BYTES
        starts = {fragment.place - _ITEM_HEAD_BYTES - first: at for at, fragment in enumerate(fragments)}
        for offsets in (extended_offsets, table):
            if len(offsets) == frames and offsets[0] == 0 and all(offset in starts for offset in offsets):
                return cls(_grouped(fragments, [starts[offset] for offset in offsets]))
        begins = [at for at, fragment in enumerate(fragments) if _begins_stream(file, fragment)]
        if len(begins) == frames and begins[0] == 0:
            return cls(_grouped(fragments, begins))
        raise ValueError(f"{counted(len(fragments), 'fragment')} cannot be told apart into {frames} frames")

    @classmethod
    def bare(cls, place: int, length: int) -> Self:
        """One stream that lies there without items around it, which some writers forget."""
        return cls(((_Fragment(place, length, True),),))

    def read(self, file: IO[bytes], index: int) -> bytes:
        """The stream of one frame (0-based). Raises ``ValueError`` where the file ends within it."""
        parts = []
        for fragment in self.frames[index]:
            if not fragment.whole:
                raise ValueError("the file ends within the compressed pixel data")
            file.seek(fragment.place)
            parts.append(file.read(fragment.length))
        return b"".join(parts)

    def length(self, index: int) -> int:
        """Bytes of one frame's stream."""
        return sum(fragment.length for fragment in self.frames[index])


def starts_with_item(start: bytes) -> bool:
    """Whether pixel data begin as encapsulated ones do."""
    return start[:4] == _ITEM


def _items(file: IO[bytes], place: int, end: int | None) -> tuple[tuple[int, ...], list[_Fragment]]:
    """The Basic Offset Table and the fragments; what follows a cut or an alien byte is not there."""
    file_end = file.seek(0, 2)
    end = file_end if end is None else min(end, file_end)
    table: tuple[int, ...] | None = None
    fragments: list[_Fragment] = []
    while place + _ITEM_HEAD_BYTES <= end:
        file.seek(place)
        head = file.read(_ITEM_HEAD_BYTES)
        if head[:4] != _ITEM or len(fragments) > _MAX_FRAGMENTS:
            break
        place, length = place + _ITEM_HEAD_BYTES, int.from_bytes(head[4:], "little")
        held = min(length, end - place)
        if table is None:
            table = struct.unpack(f"<{held // 4}L", file.read(held // 4 * 4))
        else:
            fragments.append(_Fragment(place, held, held == length))
        place += length
    return table or (), fragments


def _grouped(fragments: list[_Fragment], begins: list[int]) -> tuple[tuple[_Fragment, ...], ...]:
    ends = [*begins[1:], len(fragments)]
    return tuple(tuple(fragments[begin:end]) for begin, end in zip(begins, ends, strict=True))


def _begins_stream(file: IO[bytes], fragment: _Fragment) -> bool:
    file.seek(fragment.place)
    start = file.read(min(4, fragment.length))
    return start[:3] == b"\xff\xd8\xff" or start in (b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0c")
