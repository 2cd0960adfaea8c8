"""How an object names the images and objects that it speaks of."""

from collections.abc import Iterable, Sequence

from pydicom import Dataset
from pydicom.sequence import Sequence as DicomSequence

from neurotriage.core.values import ObjectReference
from worker.results.dataset import code_item
from worker.results.sources.slices import SourceSlice


def image_reference(image: SourceSlice) -> Dataset:
    """An image, with its frame where it has one (PS3.3 table 10-3)."""
    item = _reference(image.reference)
    if image.frame is not None:
        item.ReferencedFrameNumber = image.frame
    return item


def image_references(images: Iterable[SourceSlice]) -> DicomSequence:
    """Images by instance: the frames of one are named together."""
    instances: dict[str, list[SourceSlice]] = {}
    for image in images:
        instances.setdefault(image.sop_instance_uid, []).append(image)
    items = DicomSequence()
    for own in instances.values():
        item = _reference(own[0].reference)
        frames = [image.frame for image in own if image.frame is not None]
        if frames:
            item.ReferencedFrameNumber = frames
        items.append(item)
    return items


def source_image(image: SourceSlice) -> Dataset:
    """An image that something was made from (PS3.3 C.7.6.1, Source Image Sequence)."""
    item = image_reference(image)
    item.PurposeOfReferenceCodeSequence = DicomSequence(
        [code_item("121322", "DCM", "Source image for image processing operation")]
    )
    return item


def evidence_of(dataset: Dataset, images: Iterable[SourceSlice]) -> DicomSequence:
    """The instances of images, each once (PS3.3 C.17.2, Current Requested Procedure Evidence Sequence)."""
    return study_references(dataset, list(dict.fromkeys(image.reference for image in images)))


def study_references(dataset: Dataset, objects: Sequence[ObjectReference]) -> DicomSequence:
    """Objects of the document's own study, by series (PS3.3 table C.17-3)."""
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


def _reference(referenced: ObjectReference) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = referenced.sop_class_uid
    item.ReferencedSOPInstanceUID = referenced.sop_instance_uid
    return item
