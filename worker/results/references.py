"""Reference sequences: how an object names source images and other objects."""

from collections.abc import Iterable, Sequence

from pydicom import Dataset
from pydicom.sequence import Sequence as DicomSequence

from neurotriage.core.values import ObjectReference
from worker.results.dataset import code_item
from worker.results.sources.slices import SourceSlice


def image_reference(image: SourceSlice) -> Dataset:
    """An item that refers to an image, and to its frame where it has one (PS3.3 table 10-3)."""
    item = _reference(image.reference)
    if image.frame is not None:
        item.ReferencedFrameNumber = image.frame
    return item


def image_references(images: Iterable[SourceSlice]) -> DicomSequence:
    """One item per instance, with all its frames (PS3.3 table 10-3, Image SOP Instance Reference)."""
    instances: dict[str, list[SourceSlice]] = {}
    for image in images:
        instances.setdefault(image.sop_instance_uid, []).append(image)
    items = DicomSequence()
    for same_instance in instances.values():
        item = _reference(same_instance[0].reference)
        frames = [image.frame for image in same_instance if image.frame is not None]
        if frames:
            item.ReferencedFrameNumber = frames
        items.append(item)
    return items


def source_image(image: SourceSlice) -> Dataset:
    """An item of Source Image Sequence (PS3.3 C.12.4), with the purpose of processing."""
    item = image_reference(image)
    item.PurposeOfReferenceCodeSequence = DicomSequence(
        [code_item("121322", "DCM", "Source image for image processing operation")]
    )
    return item


def evidence_of(dataset: Dataset, images: Iterable[SourceSlice]) -> DicomSequence:
    """Current Requested Procedure Evidence Sequence (PS3.3 C.17.2): each instance of ``images`` once."""
    return study_references(dataset, list(dict.fromkeys(image.reference for image in images)))


def study_references(dataset: Dataset, objects: Sequence[ObjectReference]) -> DicomSequence:
    """Objects of the document's own study, grouped by series (PS3.3 table C.17-3)."""
    study = Dataset()
    study.StudyInstanceUID = dataset.StudyInstanceUID
    study.ReferencedSeriesSequence = DicomSequence()
    for uid in dict.fromkeys(item.series_instance_uid for item in objects):
        series = Dataset()
        series.SeriesInstanceUID = uid
        series.ReferencedSOPSequence = DicomSequence(
            [_reference(item) for item in objects if item.series_instance_uid == uid]
        )
        study.ReferencedSeriesSequence.append(series)
    return DicomSequence([study])


def name_predecessors(dataset: Dataset, previous: Iterable[ObjectReference]) -> None:
    """Predecessor Documents (PS3.3 C.17.2): those of ``previous`` of the same class, without itself."""
    others = [
        item
        for item in previous
        if item.sop_class_uid == dataset.SOPClassUID and item.sop_instance_uid != dataset.SOPInstanceUID
    ]
    if others:
        dataset.PredecessorDocumentsSequence = study_references(dataset, others)


def _reference(referenced: ObjectReference) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = referenced.sop_class_uid
    item.ReferencedSOPInstanceUID = referenced.sop_instance_uid
    return item
