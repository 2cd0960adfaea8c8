"""The header values of each image of a series, read once."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset

from neurotriage.core.errors import Refused
from neurotriage.core.values import ManifestInstance, Reason, ReasonCode, SeriesManifest
from neurotriage.dicom.attributes import functional_group, items, stated, whole_number
from neurotriage.dicom.geometry import FrameGeometry, frames_of
from neurotriage.dicom.headers import is_own_result, read_image_header, text
from worker.imaging.stacks.attributes import Value, b_value, component, type_words
from worker.imaging.stacks.kinds import KIND_ATTRIBUTES, PASS_ATTRIBUTES
from worker.imaging.stacks.sequence import guess_sequence
from worker.imaging.units import calibration, uncalibrated

_TEXTS: Final = (
    "BodyPartExamined", "StudyDescription", "SeriesDescription", "ProtocolName", "SequenceName",
    "ScanOptions", "AngioFlag", "PatientID", "PatientSpeciesDescription",
    "PatientBreedDescription",
)  # fmt: skip

# Results name an image by its UID, so that of two with one UID only one can be analysed.
_SAME_UID: Final = Reason(
    ReasonCode.SAME_UID, "its (0008,0018) SOPInstanceUID is that of another file with other content"
)


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """Header values that all frames of an instance share (PS3.3 C.7.6.1, C.7.5.1)."""

    series_instance_uid: str  # of the manifest
    sop_instance_uid: str
    sop_class_uid: str
    path: Path
    modality: str
    texts: Mapping[str, str]  # by attribute keyword; "" where absent
    photometric: str
    colour: bool
    has_pixels: bool
    own_result: bool
    frame_of_reference_uid: str | None
    temporal_positions: int  # Number of Temporal Positions (0020,0105), 1 where it is not stated
    series_images: int  # Number of Series Related Instances (0020,1209), 0 where it is not stated
    series_order: tuple[int, str, str]  # Series Number, Date and Time, by which series are ranked
    header: Dataset | None = field(default=None, compare=False, repr=False)  # where it was to be kept
    asked: Mapping[int, tuple[str, ...]] = field(default_factory=dict)  # values by tag


@dataclass(frozen=True, slots=True)
class Image:
    """One image: an instance, or a frame of one."""

    of: InstanceFacts
    geometry: FrameGeometry | None
    problem: Reason | None  # why it has no geometry, cannot be read, or is not told from another by its UID
    types: tuple[tuple[str, ...], ...] = ()  # values of ImageType and FrameType, in capitals
    component: str | None = None
    b_value: float | None = None  # s/mm2
    uncalibrated: Reason | None = None  # NO_CALIBRATION of a CT image without Hounsfield units
    sequence: str = "unknown"
    kind: tuple[Value, ...] = ()  # by the rows of ``kinds``: KIND_ATTRIBUTES, then PASS_ATTRIBUTES

    @property
    def key(self) -> tuple[str, int | None]:
        """SOP Instance UID and 1-based frame, which identify the image."""
        return self.of.sop_instance_uid, self.geometry.frame if self.geometry is not None else None

    @property
    def place(self) -> FrameGeometry:
        """The geometry. Only for images that have one: the others are left out before stacks are planned."""
        assert self.geometry is not None  # noqa: S101
        return self.geometry


def read_images(
    series: SeriesManifest, *, max_headers: int | None = 0, tags: AbstractSet[int] = frozenset()
) -> tuple[Image, ...]:
    """Every image of a series (an instance, or a frame of one), in the manifest's order.

    Does not raise for a malformed instance, whose ``problem`` gives the reason. The order is that of arrival,
    on which no decision may depend. ``max_headers``: of so many images the header is kept (None: of all),
    for whoever needs more of it later; 30 to 60 kB each, of a frame 8 kB. ``tags``: kept of every image.
    """
    images: list[Image] = []
    for instance in series.instances:
        keep_header = max_headers is None or len(images) < max_headers
        images += _images(series.series_instance_uid, instance, tags, keep_header=keep_header)
    return tuple(images)


def _images(
    series_uid: str, instance: ManifestInstance, tags: AbstractSet[int], *, keep_header: bool
) -> list[Image]:
    try:
        header, has_pixels = read_image_header(instance.path)
    except Refused as refused:
        return [Image(_unread(series_uid, instance), None, refused.reason)]
    facts = _facts(series_uid, instance, header, has_pixels, keep_header)
    if tags:
        facts = replace(facts, asked={tag: stated(header, tag) for tag in tags})
    try:
        frames = frames_of(header, instance.path)
    except Refused as refused:
        return [_image(facts, header, None, 0, refused.reason)]
    again = _SAME_UID if instance.same_uid else None
    return [
        _image(facts, header, None, index, frame)
        if isinstance(frame, Reason)
        else _image(facts, header, frame, index, again)
        for index, frame in enumerate(frames)
    ]


def _unread(series_uid: str, instance: ManifestInstance) -> InstanceFacts:
    return InstanceFacts(
        series_instance_uid=series_uid,
        sop_instance_uid=instance.sop_instance_uid,
        sop_class_uid=instance.sop_class_uid,
        path=instance.path,
        modality="",
        texts={},
        photometric="",
        colour=False,
        has_pixels=True,
        own_result=False,
        frame_of_reference_uid=None,
        temporal_positions=1,
        series_images=0,
        series_order=(0, "", ""),
    )


def _facts(
    series_uid: str, instance: ManifestInstance, header: Dataset, has_pixels: bool, keep_header: bool
) -> InstanceFacts:
    return InstanceFacts(
        series_instance_uid=series_uid,
        sop_instance_uid=instance.sop_instance_uid,
        sop_class_uid=instance.sop_class_uid,
        path=instance.path,
        modality=text(header, "Modality").upper(),
        texts=_texts(header),
        photometric=text(header, "PhotometricInterpretation").upper(),
        colour=(whole_number(header, "SamplesPerPixel") or 1) > 1,
        has_pixels=has_pixels,
        own_result=is_own_result(header),
        frame_of_reference_uid=text(header, "FrameOfReferenceUID") or None,
        temporal_positions=whole_number(header, "NumberOfTemporalPositions") or 1,
        series_images=whole_number(header, "NumberOfSeriesRelatedInstances") or 0,
        series_order=(
            whole_number(header, "SeriesNumber") or 0,
            text(header, "SeriesDate"),
            text(header, "SeriesTime"),
        ),
        header=header if keep_header else None,
    )


def _texts(header: Dataset) -> dict[str, str]:
    texts = {name: text(header, name) for name in _TEXTS}
    regions = items(header, "AnatomicRegionSequence")
    grouped = functional_group(header, 0, "FrameAnatomySequence")
    if grouped is not None:
        regions = [*regions, *items(grouped, "AnatomicRegionSequence")]
    texts["AnatomicRegion"] = " ".join(text(region, "CodeMeaning") for region in regions)
    return texts


def _image(
    facts: InstanceFacts, header: Dataset, geometry: FrameGeometry | None, index: int, problem: Reason | None
) -> Image:
    return Image(
        of=facts,
        geometry=geometry,
        problem=problem,
        types=type_words(header, index),
        component=component(header, index),
        b_value=b_value(header, index),
        uncalibrated=_uncalibrated(facts, header, index),
        sequence=guess_sequence(header, index),
        kind=tuple(attribute.read(header, index) for attribute in (*KIND_ATTRIBUTES, *PASS_ATTRIBUTES)),
    )


def _uncalibrated(facts: InstanceFacts, header: Dataset, index: int) -> Reason | None:
    if facts.modality != "CT" or calibration(header, index) is not None:
        return None
    return Reason(ReasonCode.NO_CALIBRATION, f"a CT without HU: {uncalibrated(header, index)}")
