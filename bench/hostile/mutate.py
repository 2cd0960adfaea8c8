"""Random changes of valid bytes, the same for the same seed."""

import random
from collections.abc import Callable
from typing import Final

_CHANGES_AT_ONCE: Final = (1, 1, 1, 2, 4)
_LONGEST_BYTES: Final = 64
# Numbers that are the bound of something somewhere.
_BOUNDS: Final = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)


def mutated(data: bytes, chance: random.Random) -> bytes:
    """``data`` after one to four changes, which may also shorten or lengthen it."""
    for _ in range(chance.choice(_CHANGES_AT_ONCE)):
        data = chance.choice(_CHANGES)(data, chance)
    return data


def _flip(data: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(max(1, len(data)))
    return (
        data[:place]
        + bytes(byte ^ 1 << chance.randrange(8) for byte in data[place : place + 1])
        + data[place + 1 :]
    )


def _replace(data: bytes, chance: random.Random) -> bytes:
    first, last = _range(data, chance)
    return data[:first] + chance.randbytes(last - first) + data[last:]


def _remove(data: bytes, chance: random.Random) -> bytes:
    first, last = _range(data, chance)
    return data[:first] + data[last:]


def _repeat(data: bytes, chance: random.Random) -> bytes:
    first, last = _range(data, chance)
    return data[:last] + data[first:last] * chance.randint(1, 8) + data[last:]


def _insert(data: bytes, chance: random.Random) -> bytes:
    place = chance.randint(0, len(data))
    return data[:place] + chance.randbytes(chance.randint(1, _LONGEST_BYTES)) + data[place:]


def _truncate(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randint(0, len(data))]


def _bound(data: bytes, chance: random.Random) -> bytes:
    """A number of 1, 2 or 4 bytes becomes one that is a bound of something, in either byte order."""
    size = chance.choice((1, 2, 4))
    place = chance.randint(0, max(0, len(data) - size))
    number = chance.choice(_BOUNDS) % (1 << 8 * size)
    return data[:place] + number.to_bytes(size, chance.choice(("big", "little"))) + data[place + size :]


def _range(data: bytes, chance: random.Random) -> tuple[int, int]:
    first = chance.randint(0, len(data))
    return first, min(len(data), first + chance.randint(1, _LONGEST_BYTES))


_CHANGES: Final[list[Callable[[bytes, random.Random], bytes]]] = [
    _flip, _flip, _replace, _remove, _repeat, _insert, _truncate, _bound, _bound,
]  # fmt: skip
