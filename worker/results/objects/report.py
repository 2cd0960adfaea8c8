"""The report: a Comprehensive 3D SR (PS3.3 A.35.13) with root template TID 1500 (PS3.16).

Each measurement group has a region (TID 1410), because viewers show none without. A study without a finding
therefore has one group that frames the analysed head, and a study without an image has no report. A lesion on
many slices is outlined on some of them, and the comment gives the number of slices.

A report covers CT and MR together: image library and evidence refer to a key image of each, the comment
describes both, and the regions lie on the deciding series (viewers draw one series only).

The text about the study stands in a section of its own (``narrative``), after all that viewers look for.
"""

from collections.abc import Sequence

import highdicom as hd
import numpy as np
from highdicom.sr import PlanarROIMeasurementsAndQualitativeEvaluations as PlanarGroup
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import Comprehensive3DSRStorage

from neurotriage.core.values import (
    ObjectReference,
    Omission,
    Outcome,
    Prediction,
    ResultKind,
    ResultObject,
    Side,
)
from neurotriage.dicom.headers import MANUFACTURER
from worker.results.dataset import MODEL_NAME, ResultContext, new_object, result_of
from worker.results.objects.narrative import narrative
from worker.results.references import evidence_of, name_predecessors
from worker.results.regions import OutlinedFinding, head_frame, most_telling, outlined_findings
from worker.results.sources.scene import Scene, middle
from worker.results.sources.slices import SourceSlice
from worker.results.wording import text

PROBABILITY = Code("122157", "DCM", "Probability")
LONG_AXIS = Code("103339001", "SCT", "Long axis")
PERCENT = Code("%", "UCUM", "Percent")
BRAIN = Code("12738006", "SCT", "Brain")
NEOPLASM = Code("108369006", "SCT", "Neoplasm")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
FINDING = Code("121071", "DCM", "Finding")
COMMENT = Code("121106", "DCM", "Comment")
PRESENT, ABSENT = Code("52101004", "SCT", "Present"), Code("272519000", "SCT", "Absent")
INDETERMINATE = Code("280416009", "SCT", "Indeterminate result")
_LATERALITY = {Side.LEFT: Code("7771000", "SCT", "Left"), Side.RIGHT: Code("24028007", "SCT", "Right")}
_PROCEDURES = {
    "CT": Code("25045-6", "LN", "CT unspecified body region"),
    "MR": Code("25056-3", "LN", "MRI unspecified body region"),
}
_STATES = {Outcome.PRESENT: PRESENT, Outcome.ABSENT: ABSENT, Outcome.UNDETERMINED: INDETERMINATE}

# How the run went (CID 6047); a study that could not be analysed has no report.
WITH_FINDINGS = Code("111242", "DCM", "All algorithms succeeded; with findings")
WITHOUT_FINDINGS = Code("111241", "DCM", "All algorithms succeeded; without findings")


def report(
    context: ResultContext, scene: Scene, previous: Sequence[ObjectReference] = ()
) -> ResultObject | Omission:
    """The report (PS3.3 A.35.13, TID 1500), which replaces the ``previous`` ones (C.17.2).

    An ``Omission`` where there is no image to refer to.
    """
    if scene.key is None:
        return Omission(ResultKind.REPORT, text.nothing_shown(context.analysis))
    regions = _regions(context, scene, scene.key)
    if not regions:
        return Omission(ResultKind.REPORT, "the slice that it would point at cannot be decoded")
    outlined = [image for image, _ in regions]
    others = [key for key in scene.keys if key.series_instance_uid != outlined[0].series_instance_uid]
    images = list({image.key[0]: image for image in (*outlined, *others)}.values())
    dataset = new_object(context, ResultKind.REPORT, 0, Comprehensive3DSRStorage, modality="SR")
    root = hd.sr.MeasurementReport(
        observation_context=observer(context),
        procedure_reported=_PROCEDURES[outlined[0].modality],  # TID 1500 allows one: that of the regions
        imaging_measurements=[group for _, group in regions],
        title=codes.DCM.ImagingMeasurementReport,
        referenced_images=[_library_entry(image) for image in images],
    )[0]
    dataset.update(root)
    dataset.ContentSequence.append(_evaluations(context, len(regions)))
    words = context.words_of(ResultKind.REPORT)
    if words is not None:
        dataset.ContentSequence.append(narrative(words))
    _separate(dataset)
    _document(dataset, images)
    name_predecessors(dataset, previous)
    return result_of(dataset, ResultKind.REPORT, 0)


def _regions(context: ResultContext, scene: Scene, key: SourceSlice) -> list[tuple[SourceSlice, PlanarGroup]]:
    """Image and measurement group of each outlined finding, else of the analysed head.

    All findings are on the deciding series: OHIF 3.13 opens a report on the series of its first region and
    never shows regions of another.
    """
    main = text.main_finding(context.analysis)
    outlined = outlined_findings(context.analysis, scene)
    drawn = most_telling(
        [item for item in outlined if main and item.finding.series_instance_uid == main.series_instance_uid]
    )
    if drawn:
        return [(item.image, _finding_group(context, item)) for item in drawn]
    image = middle(scene.stack_of(key))
    pixels = scene.pixels(image)
    return (
        [] if pixels is None else [(image, _head_group(context, image, head_frame(pixels, image.modality)))]
    )


def _finding_group(context: ResultContext, outlined: OutlinedFinding) -> PlanarGroup:
    """TID 1410 for one lesion on one slice, each with its own Tracking UID, or viewers would merge them."""
    finding, image = outlined.finding, outlined.image
    prediction = text.prediction_for(context.analysis, *image.stack_key)
    return PlanarGroup(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=context.uid(ResultKind.REPORT, "group", str(outlined.index)),
            identifier=f"Lesion {finding.lesion}, {_place(image)}",
        ),
        referenced_region=_region(image, outlined.line),
        finding_type=NEOPLASM,
        algorithm_id=_algorithm(prediction),
        finding_sites=[hd.sr.FindingSite(BRAIN, laterality=_LATERALITY.get(finding.side))],
        measurements=[
            _measurement(PROBABILITY, round(100 * finding.probability, 2), PERCENT, prediction),
            _measurement(LONG_AXIS, round(finding.size_mm, 1), codes.UCUM.Millimeter, prediction),
        ],
    )


def _place(image: SourceSlice) -> str:
    """The slice number in the stack, and the stack where it is not the first."""
    stack = f"stack {image.stack}, " if image.stack > 1 else ""
    return f"{stack}slice {image.number}"


def _head_group(context: ResultContext, image: SourceSlice, line: NDArray[np.float64]) -> PlanarGroup:
    """TID 1410 for the analysed head with the study's probability. It claims no finding."""
    prediction = text.deciding_prediction(context.analysis)
    measurements = []
    if prediction is not None:
        value = round(100 * prediction.probabilities[text.TUMOUR], 2)
        measurements = [_measurement(PROBABILITY, value, PERCENT, prediction)]
    return PlanarGroup(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=context.uid(ResultKind.REPORT, "group", "head"), identifier="Analysed head"
        ),
        referenced_region=_region(image, line),
        algorithm_id=_algorithm(prediction),
        finding_sites=[hd.sr.FindingSite(BRAIN)],
        measurements=measurements,
    )


def _region(image: SourceSlice, line: NDArray[np.float64]) -> hd.sr.ImageRegion:
    source = hd.sr.SourceImageForRegion(
        referenced_sop_class_uid=image.sop_class_uid,
        referenced_sop_instance_uid=image.sop_instance_uid,
        referenced_frame_numbers=None if image.frame is None else [image.frame],
    )
    return hd.sr.ImageRegion(hd.sr.GraphicTypeValues.POLYLINE, line, source)


def _algorithm(prediction: Prediction | None) -> hd.sr.AlgorithmIdentification | None:
    """TID 4019: name, version and weights of the model, and its threshold."""
    if prediction is None:
        return None
    return hd.sr.AlgorithmIdentification(
        name=prediction.model,
        version=prediction.version,
        parameters=[
            f"weights sha256={prediction.sha256}",
            f"threshold={prediction.threshold:g}",
            f"engine={prediction.engine}, device={prediction.device}",
        ],
        family=ARTIFICIAL_INTELLIGENCE,
    )


def _measurement(name: Code, value: float, unit: Code, prediction: Prediction | None) -> hd.sr.Measurement:
    """A NUM item with the model as a child (some viewers cannot read a NUM item without one)."""
    named = (
        None if prediction is None else hd.sr.AlgorithmIdentification(prediction.model, prediction.version)
    )
    return hd.sr.Measurement(name, value, unit, algorithm_id=named)


def observer(context: ResultContext) -> hd.sr.ObservationContext:
    """This installation as device observer (TID 1001, TID 1004)."""
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=context.installation_uid,
        name=MANUFACTURER,
        manufacturer_name=MANUFACTURER,
        model_name=MODEL_NAME,
        serial_number=context.analysis.software_version,
    )
    return hd.sr.ObservationContext(
        observer_device_context=hd.sr.ObserverContext(
            observer_type=codes.DCM.Device, observer_identifying_attributes=device
        )
    )


def _evaluations(context: ResultContext, outlines: int) -> Dataset:
    """Qualitative evaluations of the whole study, beside the measurement groups (TID 1500 row 12)."""
    analysis = context.analysis
    run = WITH_FINDINGS if analysis.outcome is Outcome.PRESENT else WITHOUT_FINDINGS
    contains = hd.sr.RelationshipTypeValues.CONTAINS
    comment = " ".join(
        filter(
            None,
            (
                f"{text.verdict(analysis.outcome).title}.",
                text.summary(analysis, context.claims),
                text.modalities_sentence(analysis),
                text.extent(analysis, outlines),
                text.notes(analysis),
                f"{text.RESEARCH_NOTICE}.",
            ),
        )
    )
    container = hd.sr.ContainerContentItem(QUALITATIVE_EVALUATIONS, relationship_type=contains)
    container.ContentSequence = hd.sr.ContentSequence(
        [
            hd.sr.CodeContentItem(FINDING, run, contains),
            hd.sr.CodeContentItem(NEOPLASM, _STATES[analysis.outcome], contains),
            hd.sr.TextContentItem(COMMENT, comment, contains),
        ]
    )
    return container


def _separate(container: Dataset) -> None:
    """Continuity of Content SEPARATE (PS3.3 C.18.8); renderers omit the names of CONTINUOUS numbers."""
    container.ContinuityOfContent = "SEPARATE"
    for item in container.ContentSequence:
        if item.ValueType == "CONTAINER":
            _separate(item)


def _library_entry(image: SourceSlice) -> Dataset:
    """The attributes from which TID 1602 is filled; of a multi-frame instance, the geometry of the frame."""
    entry = Dataset()
    for keyword in (
        "SOPClassUID",
        "SOPInstanceUID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "Rows",
        "Columns",
    ):
        setattr(entry, keyword, image.header[keyword].value)
    entry.Modality = image.modality
    entry.PixelSpacing = list(image.spacing_mm)
    entry.SliceThickness = image.thickness_mm if image.thickness_mm is not None else 0.0
    entry.ImagePositionPatient = image.position_mm.tolist()
    entry.ImageOrientationPatient = [*image.row_direction.tolist(), *image.column_direction.tolist()]
    if image.header.get("FrameOfReferenceUID"):
        entry.FrameOfReferenceUID = image.header.FrameOfReferenceUID
    return entry


def _document(dataset: Dataset, images: Sequence[SourceSlice]) -> None:
    """SR Document General module (PS3.3 C.17.2): complete, preliminary, and verified by nobody."""
    dataset.CompletionFlag = "COMPLETE"
    dataset.PreliminaryFlag = "PRELIMINARY"
    dataset.VerificationFlag = "UNVERIFIED"
    dataset.PerformedProcedureCodeSequence = DicomSequence()
    dataset.ReferencedPerformedProcedureStepSequence = DicomSequence()
    dataset.CurrentRequestedProcedureEvidenceSequence = evidence_of(dataset, images)
