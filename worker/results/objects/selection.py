"""Key Object Selection documents (PS3.3 A.35.4, TID 2010): a title, a sentence, and what is pointed at."""

from collections.abc import Iterable, Sequence
from typing import Final

import highdicom as hd
from pydicom import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.sr.coding import Code
from pydicom.uid import (
    Comprehensive3DSRStorage,
    EncapsulatedPDFStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
)

from neurotriage.core.values import ObjectReference
from worker.results.dataset import ResultContext
from worker.results.objects.report import observer
from worker.results.references import study_references
from worker.results.sources.slices import SourceSlice

Item = hd.sr.ImageContentItem | hd.sr.CompositeContentItem

_MODIFIER: Final = Code("113011", "DCM", "Document Title Modifier")
_DESCRIPTION: Final = Code("113012", "DCM", "Key Object Description")
_UNNAMED: Final = Code("260753009", "SCT", "Source")  # highdicom asks for a name; it is taken off again
_CONTAINS: Final = hd.sr.RelationshipTypeValues.CONTAINS
_NO_IMAGES: Final = frozenset(
    {
        Comprehensive3DSRStorage,
        EncapsulatedPDFStorage,
        GrayscaleSoftcopyPresentationStateStorage,
        KeyObjectSelectionDocumentStorage,
    }
)


def image_item(image: SourceSlice) -> Item:
    """Points at an image of the study, with its frame where it has one."""
    return hd.sr.ImageContentItem(
        _UNNAMED,
        image.sop_class_uid,
        image.sop_instance_uid,
        referenced_frame_numbers=None if image.frame is None else [image.frame],
        relationship_type=_CONTAINS,
    )


def object_item(reference: ObjectReference) -> Item:
    """Points at a result object: IMAGE where it has pixels, else COMPOSITE."""
    other = reference.sop_class_uid in _NO_IMAGES
    content = hd.sr.CompositeContentItem if other else hd.sr.ImageContentItem
    return content(_UNNAMED, reference.sop_class_uid, reference.sop_instance_uid, relationship_type=_CONTAINS)


def fill_selection(
    dataset: Dataset,
    context: ResultContext,
    title: Code,
    words: str,
    items: Iterable[Item],
    evidence: Sequence[ObjectReference],
    modifier: Code | None = None,
) -> None:
    """Write the document's content into ``dataset``. ``evidence`` are the objects that the items point at."""
    concept = hd.sr.RelationshipTypeValues.HAS_CONCEPT_MOD
    root = hd.sr.ContainerContentItem(title, template_id="2010")
    root.ContentSequence = hd.sr.ContentSequence(
        [
            *([] if modifier is None else [hd.sr.CodeContentItem(_MODIFIER, modifier, concept)]),
            *observer(context),
            hd.sr.TextContentItem(_DESCRIPTION, words, _CONTAINS),
            *items,
        ]
    )
    dataset.update(root)
    for item in dataset.ContentSequence:
        if item.ValueType in ("IMAGE", "COMPOSITE"):
            del item.ConceptNameCodeSequence
    dataset.ReferencedPerformedProcedureStepSequence = DicomSequence()
    dataset.CurrentRequestedProcedureEvidenceSequence = study_references(dataset, evidence)
