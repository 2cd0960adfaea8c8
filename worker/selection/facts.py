"""What the headers of some images of a series say together, as plain values for the rules."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from neurotriage.core.values import Reason
from worker.imaging import Image


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """Of one image, or of those of a series that are analysed. Texts are those that most of them have."""

    modality: str
    sop_class_uids: frozenset[str]
    texts: dict[str, str]  # by attribute keyword; "" where absent
    photometric: str
    image_types: frozenset[tuple[str, ...]]  # all values of ImageType and FrameType, in capitals
    own_result: bool
    has_pixels: bool
    colour: bool
    uncalibrated: Reason | None  # why the first has no Hounsfield units
    b_values: frozenset[float]  # s/mm2
    components: frozenset[str | None]
    sequence: str
    images: int
    placed: bool  # all have a geometry
    problem: Reason | None  # why the first has none
    temporal_positions: int = 1  # as stated
    places: int = 0  # of the largest stack
    passes: int = 1  # over these
    keyed: bool = True  # whether the passes can be told apart by more than a count

    @property
    def type_words(self) -> frozenset[str]:
        """Every word of every ImageType."""
        return frozenset(word for values in self.image_types for word in values)


def facts_of(images: Sequence[Image]) -> SeriesFacts:
    """What some images say; they may come in any order."""
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
    """The commonest of some texts, of equally common ones the first by alphabet; "" of none."""
    counts = Counter(stated)
    return min(counts, key=lambda text: (-counts[text], text), default="")


def _usual_texts(images: Sequence[Image]) -> dict[str, str]:
    """Instances of many frames count by them."""
    names = dict.fromkeys(name for image in images for name in image.of.texts)
    return {name: usual([image.of.texts.get(name, "") for image in images]) for name in names}
