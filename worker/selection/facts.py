"""What the headers of one series say, as plain values for the rules."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag

from neurotriage.core.errors import Refused
from neurotriage.core.headers import MALFORMED, is_own_result, read_header, text
from neurotriage.core.values import ManifestInstance, Reason, SeriesManifest
from worker.imaging.attributes import functional_group, items, numbers, whole_number
from worker.imaging.geometry import FrameGeometry, frames_of
from worker.imaging.sequence import guess_sequence
from worker.imaging.units import calibration

# FloatPixelData, DoubleFloatPixelData, PixelData: none of them may be missing in an image to analyse.
_PIXEL_TAGS: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_TEXTS: Final = (
    "BodyPartExamined", "StudyDescription", "SeriesDescription", "ProtocolName", "SequenceName",
    "ScanOptions", "AngioFlag", "PatientID", "PatientSpeciesDescription",
    "PatientBreedDescription", "PhotometricInterpretation",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """The header of a series. Texts are of its first readable instance, sets are over all instances."""

    series_instance_uid: str
    modality: str
    sop_class_uids: frozenset[str]
    texts: dict[str, str]  # by attribute keyword; "" where absent
    image_types: frozenset[tuple[str, ...]]  # all values of ImageType and FrameType, in capitals
    own_result: bool
    has_pixels: bool
    colour: bool
    calibrated: bool
    b_values: frozenset[float]  # s/mm2
    temporal_positions: int  # the largest count stated or seen
    sequence: str
    frames: tuple[FrameGeometry, ...]
    problem: Reason | None  # why a header could not be read or has no geometry; the first one

    @property
    def type_words(self) -> frozenset[str]:
        """Every word of every ImageType."""
        return frozenset(word for values in self.image_types for word in values)

    @property
    def repeats(self) -> int:
        """How often the most common frame position occurs with one echo and component."""
        seen = Counter(
            (tuple(round(p, 1) for p in f.position_mm), f.component, f.echo_time_ms) for f in self.frames
        )
        return max(seen.values(), default=0)

    @property
    def places(self) -> int:
        """Number of different frame positions."""
        return len({tuple(round(p, 1) for p in frame.position_mm) for frame in self.frames})


def read_facts(series: SeriesManifest) -> SeriesFacts:
    """Read the headers of a series. Never raises for a bad instance: ``problem`` says what is wrong."""
    headers: list[Dataset] = []
    frames: list[FrameGeometry] = []
    problem: Reason | None = None
    for instance in series.instances:
        try:
            header = read_header(instance.path)
            headers.append(header)
            frames.extend(frames_of(header, instance.path))
        except Refused as refused:
            problem = problem or refused.reason
    first = headers[0] if headers else Dataset()
    return SeriesFacts(
        series_instance_uid=series.series_instance_uid,
        modality=series.modality.upper(),
        sop_class_uids=frozenset(instance.sop_class_uid for instance in series.instances),
        texts=_texts(first),
        image_types=frozenset(kind for header in headers for kind in _image_types(header)),
        own_result=any(is_own_result(header) for header in headers),
        has_pixels=_has_pixels(series.instances[0]),
        colour=(whole_number(first, "SamplesPerPixel") or 1) > 1,
        calibrated=all(calibration(header) is not None for header in headers),
        b_values=frozenset(b for header in headers for b in _b_values(header)),
        temporal_positions=_temporal_positions(headers, frames),
        sequence=guess_sequence(first),
        frames=tuple(frames),
        problem=problem if not frames else None,
    )


def _texts(header: Dataset) -> dict[str, str]:
    texts = {name: text(header, name) for name in _TEXTS}
    regions = items(header, "AnatomicRegionSequence")
    grouped = functional_group(header, 0, "FrameAnatomySequence")
    if grouped is not None:
        regions = [*regions, *items(grouped, "AnatomicRegionSequence")]
    texts["AnatomicRegion"] = " ".join(text(region, "CodeMeaning") for region in regions)
    return texts


def _image_types(header: Dataset) -> Iterable[tuple[str, ...]]:
    yield _words(header, "ImageType")
    for name in ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence"):
        group = functional_group(header, 0, name)
        if group is not None:
            yield _words(group, "FrameType")


def _words(dataset: Dataset, name: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text(dataset, name).upper().split("\\"))


def _b_values(header: Dataset) -> tuple[float, ...]:
    group = functional_group(header, 0, "MRDiffusionSequence")
    own = numbers(group, "DiffusionBValue") if group is not None else ()
    return own + numbers(header, "DiffusionBValue")


def _temporal_positions(headers: list[Dataset], frames: list[FrameGeometry]) -> int:
    stated = [whole_number(header, "NumberOfTemporalPositions") or 1 for header in headers]
    seen = {frame.temporal_position for frame in frames if frame.temporal_position is not None}
    return max([1, len(seen), *stated])


def _has_pixels(instance: ManifestInstance) -> bool:
    """Looks for the pixel data element without reading it."""
    found: list[int] = []

    def stop(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        if tag in _PIXEL_TAGS:
            found.append(tag)
        return bool(found)

    try:
        with instance.path.open("rb") as file:
            read_partial(file, stop_when=stop, force=True)
    except (InvalidDicomError, RecursionError, *MALFORMED):
        return False
    return bool(found)
