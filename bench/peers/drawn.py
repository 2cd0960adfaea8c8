"""A drawn CT as files of a folder, to be sent by DCMTK again and again as a study that is always new."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from neurotriage.phantom import make_study

DRAWN: Final = 50  # slices; more instances are copies of these with other UIDs
SHARES: Final = 4  # folders, for as many senders

_ROOT: Final = b"2.25."  # of all UIDs in a drawn study
_PIXELS: Final = b"\xe0\x7f\x10\x00"
_FIRST: Final = 100  # the three digits after the root tell the runs apart, the next three the copies
_COPY: Final = slice(8, 11)


@dataclass(frozen=True, slots=True)
class DrawnStudy:
    """Files in ``SHARES`` folders below ``folder``, and where in each the digits of its UIDs lie."""

    folder: Path
    places: dict[Path, tuple[int, ...]]

    @classmethod
    def draw(cls, folder: Path, count: int, side_px: int) -> Self:
        """Draw ``count`` images of ``side_px`` x ``side_px`` pixels of 16 bits."""
        made = make_study(folder / "drawn", modality="CT", slices=min(count, DRAWN), shape=(side_px, side_px))
        drawn = [instance for series in made.manifest.series for instance in series.instances]
        places = {}
        for number in range(count):
            copy, which = divmod(number, len(drawn))
            uid = drawn[which].sop_instance_uid
            renamed = uid[: _COPY.start] + f"{copy:03d}" + uid[_COPY.stop :]
            data = drawn[which].path.read_bytes().replace(uid.encode(), renamed.encode())
            path = folder / "sent" / str(number % SHARES) / f"{number:05d}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            places[path] = _places(data[: data.rindex(_PIXELS)])
        return cls(folder / "sent", places)

    @property
    def count(self) -> int:
        """How many images it has."""
        return len(self.places)

    def shares(self, associations: int) -> list[Path]:
        """The folders that each of 1 or ``SHARES`` senders sends with all that is below."""
        return [self.folder] if associations == 1 else [self.folder / str(n) for n in range(SHARES)]

    def renew(self, run: int) -> None:
        """Give all UIDs the digits of another run (0 to 239), so that no receiver has seen the study."""
        digits = str(_FIRST + run).encode()
        for path, places in self.places.items():
            with path.open("r+b", buffering=0) as file:
                for place in places:
                    os.pwrite(file.fileno(), digits, place)


def _places(header: bytes) -> tuple[int, ...]:
    found, place = [], header.find(_ROOT)
    while place >= 0:
        found.append(place + len(_ROOT))
        place = header.find(_ROOT, place + 1)
    return tuple(found)
