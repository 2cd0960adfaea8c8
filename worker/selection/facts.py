"""Header values of images of one series, summarised for the rules."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from neurotriage.core.values import Reason
from worker.imaging import Image


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """Header values of one image, or of the images to analyse; texts are the most frequent ones."""

    modality: str
    sop_class_uids: frozenset[str]
    texts: dict[str, str]  # by attribute keyword; "" where absent
    photometric: str
    image_types: frozenset[tuple[str, ...]]  # all values of ImageType and FrameType, in capitals
    own_result: bool
    has_pixels: bool
    colour: bool
    uncalibrated: Reason | None  # NO_CALIBRATION of the first CT image without Hounsfield units
    b_values: frozenset[float]  # s/mm2
    components: frozenset[str | None]
    sequence: str
    images: int
    placed: bool  # whether all have a geometry
    problem: Reason | None  # of the first image without one
    temporal_positions: int = 1  # Number of Temporal Positions (0020,0105)
    places: int = 0  # number of positions of the largest stack
    passes: int = 1  # number of passes over these positions
    keyed: bool = True  # whether more than a running number distinguishes the passes

    @property
    def type_words(self) -> frozenset[str]:
        """Every word of every ImageType."""
        return frozenset(word for values in self.image_types for word in values)


def facts_of(images: Sequence[Image]) -> SeriesFacts:
    """The facts of some images, whatever their order; texts are empty and sets are empty without images."""
    return SeriesFacts(
        modality=usual([image.of.modality for image in images]),
        sop_class_uids=frozenset(image.of.sop_class_uid for image in images),
        texts=_usual_texts(images),
        photometric=usual([image.of.photometric for image in images]),
        image_types=frozenset(values for image in images for values in image.types),
        own_result=any(image.of.own_result for image in images),
        has_pixels=all(image.of.has_pixels for image in images),
        colour=any(image.of.colour for image in images),
        uncalibrated=next((i.uncalibrated for i in images if i.uncalibrated is not None), None),
        b_values=frozenset(image.b_value for image in images if image.b_value is not None),
        components=frozenset(image.component for image in images),
        sequence=usual([image.sequence for image in images]),
        images=len(images),
        placed=all(image.geometry is not None for image in images),
        problem=next((image.problem for image in images if image.problem is not None), None),
        temporal_positions=max((image.of.temporal_positions for image in images), default=1),
    )


def usual(stated: Sequence[str]) -> str:
    """The most frequent text, of equally frequent ones the first alphabetically; empty without texts."""
    counts = Counter(stated)
    return min(counts, key=lambda text: (-counts[text], text), default="")


def _usual_texts(images: Sequence[Image]) -> dict[str, str]:
    """The usual value of each text; a multi-frame instance counts once per frame."""
    names = dict.fromkeys(name for image in images for name in image.of.texts)
    return {name: usual([image.of.texts.get(name, "") for image in images]) for name in names}
