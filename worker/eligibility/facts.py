"""The facts about a volume by which it is refused; measured by ``worker.imaging`` and ``worker.vision``."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CtSection:
    """One CT slice: how much of its largest object is soft tissue, and how far bone goes round it."""

    width_mm: float  # of the object, the larger of both directions; 0 where there is none
    soft_share: float  # of the object's pixels
    bone_ring: float  # share of the directions from the object's centre in which bone lies well outside


@dataclass(frozen=True, slots=True)
class PixelFacts:
    """Measurements on a sample of a volume's slices; medians over them where not said otherwise."""

    correlation: float  # of neighbouring pixels, the smaller of both directions; of slices with a picture
    blank: bool  # all pixels of the volume have one value
    flatness: float  # MR: share of the object's inside without gradient
    extent_mm: tuple[float, float]  # of the object along rows and columns, 90th percentile of the slices
    air_percentile_hu: float | None  # CT: first percentile of all values
    ct_sections: tuple[CtSection, ...]  # CT: of each slice of the sample


@dataclass(frozen=True, slots=True)
class Extent:
    """How much of a head a volume holds, and how finely."""

    slices: int
    covered_mm: float  # from the first slice to the last, with one slice thickness
    rows: int
    columns: int
    pixel_mm: tuple[float, float]  # between rows, between columns

    @property
    def field_of_view_mm(self) -> float:
        """The shorter side of the picture."""
        return min(self.rows * self.pixel_mm[0], self.columns * self.pixel_mm[1])


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """The network's outputs and the sections of a volume, as medians over its larger slices."""

    head_probability: float
    filled_share: float  # of the inside of a section that gives signal
    out_of_distribution: float  # score by the distance of the features from those of the training data
