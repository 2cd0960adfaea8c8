"""The encoded data set of a file: where it begins, and its digest."""

from hashlib import sha256
from pathlib import Path
from typing import Final

_CHUNK_BYTES: Final = 1 << 20


def digest_of_file(path: Path) -> str:
    """SHA-256 (hex) of the encoded data set: everything after the File Meta."""
    summary = sha256()
    with path.open("rb") as file:
        file.seek(data_set_offset(file.read(144)))
        while chunk := file.read(_CHUNK_BYTES):
            summary.update(chunk)
    return summary.hexdigest()


def data_set_offset(start: bytes) -> int:
    """Where the data set begins in a file with these first bytes, by its group length; else 0.

    PS3.10 7.1: 128 bytes, "DICM", then (0002,0000) UL 4 with the length of the rest of the group.
    """
    if start[128:132] != b"DICM" or start[132:140] != b"\x02\x00\x00\x00UL\x04\x00":
        return 0
    return 144 + int.from_bytes(start[140:144], "little")
