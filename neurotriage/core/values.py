"""The frozen values that flow through the stages.

Sockets, rows and files stay at the edges; what passes between stages is defined here. ``Analysis`` with
its ``Evidence`` (``core.evidence``) is the waist: every result is built from it, without inference.
Pixel coordinates are 0-based, x = column, y = row, of the stored image; lengths are in millimetres.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Final

from neurotriage.core.patient import PatientIdentity

Point = tuple[float, float]  # (x, y) in pixels; whole numbers are pixel edges
Polygon = tuple[Point, ...]  # closed: the last point is the first


class Outcome(StrEnum):
    """The outcomes of a study: each ends in exactly one."""

    PRESENT = "present"  # tumour found
    ABSENT = "absent"  # analysed, and every analysed series says no tumour
    UNDETERMINED = "undetermined"  # analysed, no safe answer, or something else looks wrong
    POOR_QUALITY = "poor_quality"  # a head, but too little or too broken
    INCOMPLETE = "incomplete"  # images are known to be missing
    NOT_ELIGIBLE = "not_eligible"  # no head CT or MR to analyse, or no model for it
    FAILED = "failed"  # our fault

    @property
    def analysed(self) -> bool:
        """True if a model judged the study."""
        return self in (Outcome.PRESENT, Outcome.ABSENT, Outcome.UNDETERMINED)

    @property
    def marked(self) -> bool:
        """True if results may mark images: on a study without a tumour a mark would mislead."""
        return self in (Outcome.PRESENT, Outcome.UNDETERMINED)


class Triage(StrEnum):
    """The priority at which a person should read the study."""

    URGENT = "urgent"
    PRIORITY = "priority"
    ROUTINE = "routine"
    NONE = "none"


class Side(StrEnum):
    """The patient's side."""

    LEFT = "left"
    RIGHT = "right"
    MIDLINE = "midline"


class Plane(StrEnum):
    """The anatomical plane nearest to a series' slices."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"


class ReasonCode(StrEnum):
    """Why a series, an image or a study was accepted, refused or judged; see ``docs/data-dictionary.md``."""

    # a series is taken
    ELIGIBLE = "eligible"
    # a series or study is refused by its header
    NOT_DICOM = "not_dicom"
    NO_STUDY = "no_study"
    NOT_RECORDED = "not_recorded"
    NO_PIXELS = "no_pixels"
    NOT_AN_IMAGE = "not_an_image"
    OTHER_MODALITY = "other_modality"
    SECONDARY_CAPTURE = "secondary_capture"
    OWN_RESULT = "own_result"
    LOCALIZER = "localizer"
    DERIVED = "derived"
    MOSAIC = "mosaic"
    FUNCTIONAL = "functional"
    DIFFUSION = "diffusion"
    PERFUSION = "perfusion"
    ANGIOGRAPHY = "angiography"
    FIELD_MAP = "field_map"
    COLOUR = "colour"
    OTHER_BODY_PART = "other_body_part"
    NOT_A_HUMAN = "not_a_human"
    NO_GEOMETRY = "no_geometry"
    INCONSISTENT_GEOMETRY = "inconsistent_geometry"
    NO_CALIBRATION = "no_calibration"
    LOWER_RANK = "lower_rank"
    REFUSED_BY_SITE = "refused_by_site"
    # an image of a taken series is left out
    OTHER_KIND = "other_kind"
    SAME_PLACE = "same_place"
    SAME_UID = "same_uid"
    # a series or study is refused by its pixels
    NOT_A_HEAD = "not_a_head"
    NOISE = "noise"
    OUT_OF_DISTRIBUTION = "out_of_distribution"
    UNREADABLE_PIXELS = "unreadable_pixels"
    TOO_FEW_SLICES = "too_few_slices"
    TOO_COARSE = "too_coarse"
    # about the study
    IDENTITY_CONFLICT = "identity_conflict"
    IMAGES_WITHDRAWN = "images_withdrawn"
    MISSING_IMAGES = "missing_images"
    PART_NOT_ANALYSED = "part_not_analysed"
    NO_MODEL = "no_model"
    NO_HEAD_SERIES = "no_head_series"
    HEADER_CONTRADICTS_PIXELS = "header_contradicts_pixels"
    # what an analysis says
    TUMOUR = "tumour"
    NO_TUMOUR = "no_tumour"
    NO_SAFE_ANSWER = "no_safe_answer"
    LOOK_ALIKE = "look_alike"
    # nothing is said yet
    NOT_ANALYSED_YET = "not_analysed_yet"
    # our fault
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    INTERNAL_ERROR = "internal_error"


@dataclass(frozen=True, slots=True)
class Reason:
    """A code for machines and a sentence for a PACS admin."""

    code: ReasonCode
    text: str


@dataclass(frozen=True, slots=True)
class ManifestInstance:
    """One instance of a frozen study."""

    sop_instance_uid: str
    sop_class_uid: str
    path: Path
    digest: str  # SHA-256 of the data set bytes as received, hex
    same_uid: bool = False  # another instance of the study has its SOP Instance UID and other bytes


@dataclass(frozen=True, slots=True)
class SeriesManifest:
    series_instance_uid: str
    modality: str  # as the header says; "" where it says nothing
    instances: tuple[ManifestInstance, ...]


# StudyManifest.completed_by if somebody asked for another analysis of the same images.
REPROCESSED: Final = "reprocess"
# StudyManifest.completed_by of a first look: some series are complete, the study is not.
EARLY: Final = "early"


@dataclass(frozen=True, slots=True)
class StudyManifest:
    """A revision: the frozen list of the instances of a study when it was judged complete."""

    study_instance_uid: str | None
    revision: int
    series: tuple[SeriesManifest, ...]
    completed_by: str  # why it is complete: "quiet", "folder", ``REPROCESSED``; ``EARLY``: it is not yet
    conflict: Reason | None = None  # of several patients, or nothing left: such a study is never analysed
    patient: PatientIdentity | None = None  # whose it is by a correction; None: as the headers say
    withdrawn: int = 0  # the last revision before it that was withdrawn; 0: none

    @property
    def digest(self) -> str:
        """SHA-256 over the sorted (SOP Instance UID, file digest) of all instances, hex."""
        return digest_of((i.sop_instance_uid, i.digest) for series in self.series for i in series.instances)


def digest_of(instances: Iterable[tuple[str, str]]) -> str:
    """SHA-256 over the sorted (SOP Instance UID, file digest) pairs, hex."""
    summary = sha256()
    for uid, digest in sorted(instances):
        summary.update(f"{uid}\0{digest}\n".encode())
    return summary.hexdigest()


@dataclass(frozen=True, slots=True)
class SeriesVerdict:
    """Whether a series was accepted, by which rule, and which attribute or property of the pixels decided."""

    series_instance_uid: str
    modality: str
    description: str
    taken: bool
    reason: Reason
    evidence: str = (
        ""  # attribute and value, or property of the pixels: "(0008,0008) ImageType = ...\\LOCALIZER"
    )
    head_meant: bool = False  # the header says head CT or MR, whatever the pixels show
    head_seen: bool = False  # the model saw a head in the pixels, but too little of it, or not clearly
    rule: str = ""  # the rule of the site that decided; empty: the built-in ones did


@dataclass(frozen=True, slots=True)
class SliceSource:
    """The stored image of a slice of a volume."""

    sop_instance_uid: str
    frame: int | None  # 1-based; None for a single-frame instance
    instance_number: int | None


@dataclass(frozen=True, slots=True)
class SliceScores:
    """Scores of each slice of one volume, in volume order."""

    tumour: tuple[float, ...]  # calibrated probability
    out_of_distribution: tuple[float, ...]  # 0 = like the training data, 1 = unlike anything seen


@dataclass(frozen=True, slots=True)
class Finding:
    """One lesion on one slice.

    ``lesion`` joins the slices of one lesion: 1-based, largest first within a stack, and counted on from
    stack to stack, so that it is unique within a series.
    """

    lesion: int
    series_instance_uid: str
    sop_instance_uid: str
    frame: int | None  # 1-based; None if single-frame
    slice_index: int  # 0-based along its sorted stack
    box: tuple[int, int, int, int]  # x0, y0, x1, y1; end exclusive
    outline: Polygon
    size_mm: float  # largest extent in the slice
    side: Side
    probability: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """The probabilities that one model gave for a series or the study, and which model it was."""

    model: str
    version: str
    sha256: str
    modality: str
    probabilities: Mapping[str, float]
    threshold: float  # of the probability of a tumour
    series_instance_uid: str | None = None  # None: about the study
    stack: int = 1  # of the series
    engine: str = "torch"
    device: str = "cpu"
    # of a score of several modalities: the probability of a tumour without the modality that is the key
    left_out: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SeriesDecision:
    """The decision on one volume: a stack of a series."""

    series_instance_uid: str
    outcome: Outcome  # PRESENT, ABSENT, UNDETERMINED, POOR_QUALITY or NOT_ELIGIBLE
    reason: Reason
    scores: SliceScores
    stack: int = 1  # 1-based within the series, the largest first
    slices: tuple[SliceSource, ...] = ()  # the images of the volume, in its order


@dataclass(frozen=True, slots=True)
class StudyDecision:
    """The decision on all volumes of a study."""

    outcome: Outcome
    triage: Triage
    reasons: tuple[Reason, ...]
    findings: tuple[Finding, ...]
    predictions: tuple[Prediction, ...]
    series: tuple[SeriesDecision, ...]
    degradations: tuple[str, ...] = ()
    timings_s: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Images of an accepted series that were not analysed: how many, and why."""

    series_instance_uid: str
    reason: Reason
    count: int  # images: instances, or frames of a multi-frame instance


@dataclass(frozen=True, slots=True)
class Analysis:
    """All that is known about a revision of a study after analysis: no pixels, serialisable to JSON."""

    study_instance_uid: str | None
    revision: int
    analysed_at: datetime  # timezone aware; dates inside result objects come from here, never from now()
    outcome: Outcome
    triage: Triage
    reasons: tuple[Reason, ...]
    verdicts: tuple[SeriesVerdict, ...]
    predictions: tuple[Prediction, ...]
    findings: tuple[Finding, ...]
    series: tuple[SeriesDecision, ...]
    input_digest: str  # digest_of the instances of the analysed series; of all instances if none was
    software_version: str
    degradations: tuple[str, ...] = ()
    timings_s: Mapping[str, float] = field(default_factory=dict)
    # images of accepted series that were not analysed; ``degradations`` say the same in sentences
    # (``core.left_out``), so that whoever shows those shows this
    left_out: tuple[LeftOut, ...] = ()
    omissions: "tuple[Omission, ...]" = ()  # known once the results are built; they do not depend on it

    @property
    def head_meant(self) -> bool:
        """True if the header of at least one series says head CT or MR, or its pixels show one."""
        return any(verdict.head_meant or verdict.head_seen for verdict in self.verdicts)


class ResultKind(StrEnum):
    """The kinds of result object."""

    PAGE = "page"  # Secondary Capture: one summary page
    OVERLAY = "overlay"  # Secondary Capture: the slices that matter with heat map and outline
    OVERLAY_SERIES = "overlay_series"  # the same of every slice of the series
    OVERLAY_FRAMES = "overlay-multiframe"  # Multi-frame True Color Secondary Capture: overlays as frames
    OVERLAY_SERIES_FRAMES = "overlay_series-multiframe"  # the same of every slice of the series
    REPORT = "report"  # Comprehensive 3D SR, TID 1500
    KEY_OBJECTS = "ko"  # Key Object Selection: the slices with findings, and our page, overlays and report
    SEGMENTATION = "seg"  # Segmentation, BINARY: the lesion masks
    LABELMAP = "seg-labelmap"  # the same as a Label Map Segmentation
    PARAMETRIC_MAP = "pm"  # Parametric Map, 32 bit float: the heat maps
    PRESENTATION_STATE = "gsps"  # Grayscale Softcopy Presentation State: outlines on the source images
    DOCUMENT = "pdf"  # Encapsulated PDF: one page for a referrer


class NoteKind(StrEnum):
    """Kinds of object about other results; no destination asks for them by name."""

    REJECTION = "rejection"  # Key Object Selection: earlier results are withdrawn


# The kinds that are made unless others are configured.
USUAL_KINDS: Final = frozenset({ResultKind.PAGE, ResultKind.OVERLAY, ResultKind.REPORT})


class Claims(StrEnum):
    """The extent of statements in result objects."""

    RESEARCH = "research"  # everything that is known
    TRIAGE_ONLY = "triage-only"  # the verdict; no lesion region, side, class or heat map


class OverlayStyle(StrEnum):
    """The content of the pictures of marked slices."""

    HEAT = "heat"  # heat map and outline
    OUTLINE = "outline"  # the outline alone
    BOTH = "both"  # the slice without marks and, beside it, the same with heat map and outline


@dataclass(frozen=True, slots=True)
class Omission:
    """A requested result object that could not be made, or not completely, and why."""

    kind: ResultKind
    text: str


@dataclass(frozen=True, slots=True)
class SeriesLabel:
    """Series Number and Series Description of a kind of result object."""

    number: int
    description: str  # at most 64 characters


SERIES_LABELS: Final[Mapping[ResultKind, SeriesLabel]] = {
    kind: SeriesLabel(number, f"AI head triage: {words} (research)")
    for kind, number, words in (
        (ResultKind.PAGE, 9901, "summary"),
        (ResultKind.OVERLAY, 9902, "overlay"),
        (ResultKind.OVERLAY_SERIES, 9910, "overlay, all slices"),
        (ResultKind.OVERLAY_FRAMES, 9911, "overlay frames"),
        (ResultKind.OVERLAY_SERIES_FRAMES, 9912, "frames of all slices"),
        (ResultKind.REPORT, 9903, "report"),
        (ResultKind.KEY_OBJECTS, 9904, "key images"),
        (ResultKind.SEGMENTATION, 9905, "lesion mask"),
        (ResultKind.LABELMAP, 9906, "lesion label map"),
        (ResultKind.PARAMETRIC_MAP, 9907, "model relevance"),
        (ResultKind.PRESENTATION_STATE, 9908, "outlines"),
        (ResultKind.DOCUMENT, 9909, "one-page report"),
    )
}


@dataclass(frozen=True, slots=True)
class ObjectReference:
    """A result object of an earlier revision."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True, slots=True)
class ResultObject:
    """A DICOM object made by us, as bytes of a whole Part 10 file."""

    kind: ResultKind | NoteKind
    index: int  # 0-based within its kind
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    data: bytes
