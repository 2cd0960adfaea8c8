"""Key Object Selection (PS3.3 A.35.4, TID 2010): which images of the study to look at first."""

from collections.abc import Sequence

import highdicom as hd
from pydicom.sequence import Sequence as DicomSequence
from pydicom.sr.coding import Code
from pydicom.uid import KeyObjectSelectionDocumentStorage

from neurotriage.core.values import Claims, ObjectReference, Omission, ResultKind, ResultObject
from worker.results import text
from worker.results.dataset import Frame, new_object, result_of
from worker.results.objects.report import observer
from worker.results.references import study_references
from worker.results.scene import Scene, marked_slices
from worker.results.source import SourceSlice

KIND = ResultKind.KEY_OBJECTS
OF_INTEREST = Code("113000", "DCM", "Of Interest")
DESCRIPTION = Code("113012", "DCM", "Key Object Description")
_UNNAMED = Code("260753009", "SCT", "Source")  # highdicom asks for a name; it is taken off again
_CONTAINS = hd.sr.RelationshipTypeValues.CONTAINS


def key_objects(frame: Frame, scene: Scene, made: Sequence[ResultObject]) -> ResultObject | Omission:
    """The slices with findings, and what was ``made`` of them. With triage-only claims no slice is named."""
    images = marked_slices(frame.analysis, scene)
    if not frame.analysis.outcome.marked:
        return Omission(KIND, text.nothing_marked(frame.analysis, frame.claims))
    if not images and not made:
        return Omission(KIND, "there is no image and no other result that it could name")
    others = [
        ObjectReference(item.sop_class_uid, item.sop_instance_uid, item.series_instance_uid) for item in made
    ]
    named = (item.sop_instance_uid for item in others)
    dataset = new_object(frame, KIND, 0, KeyObjectSelectionDocumentStorage, "KO", *named)
    root = hd.sr.ContainerContentItem(OF_INTEREST, template_id="2010")
    root.ContentSequence = hd.sr.ContentSequence(
        [
            *observer(frame),
            hd.sr.TextContentItem(DESCRIPTION, _description(frame), _CONTAINS),
            *(_image_item(image) for image in images),
            *(_object_item(item) for item in made),
        ]
    )
    dataset.update(root)
    for item in dataset.ContentSequence:
        if item.ValueType in ("IMAGE", "COMPOSITE"):
            del item.ConceptNameCodeSequence
    dataset.ReferencedPerformedProcedureStepSequence = DicomSequence()
    sources = [image.reference for image in images]
    dataset.CurrentRequestedProcedureEvidenceSequence = study_references(
        dataset, list(dict.fromkeys([*sources, *others]))
    )
    return result_of(dataset, KIND, 0)


def _description(frame: Frame) -> str:
    title = text.verdict(frame.analysis.outcome).title
    told = "" if frame.claims is Claims.TRIAGE_ONLY else f" {text.summary(frame.analysis)}"
    return f"{title}.{told} {text.RESEARCH_NOTICE}."


def _image_item(image: SourceSlice) -> hd.sr.ImageContentItem:
    return hd.sr.ImageContentItem(
        _UNNAMED,
        image.sop_class_uid,
        image.sop_instance_uid,
        referenced_frame_numbers=None if image.frame is None else [image.frame],
        relationship_type=_CONTAINS,
    )


def _object_item(item: ResultObject) -> hd.sr.ImageContentItem | hd.sr.CompositeContentItem:
    content = hd.sr.CompositeContentItem if item.kind is ResultKind.REPORT else hd.sr.ImageContentItem
    return content(_UNNAMED, item.sop_class_uid, item.sop_instance_uid, relationship_type=_CONTAINS)
