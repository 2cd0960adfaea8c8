"""Where an instance lies in its series, as far as one header tells."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Placement:
    """The place of an image, and how many there are to be by its own header. Absent values are empty."""

    grid: str = ""  # direction of the normal and matrix: images of one grid can make a stack
    position_mm: float | None = None  # along the normal; of a multi-frame instance, its lowest frame
    extent_mm: float = 0.0  # from the lowest frame to the highest; 0 for a single frame
    frames: int = 1
    acquisition_number: int | None = None  # (0020,0012)
    images_stated: int | None = None  # (0020,1002), or the instances of a concatenation (0020,9163)
