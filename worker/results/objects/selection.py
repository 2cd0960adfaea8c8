"""Key Object Selection documents (PS3.3 A.35.4, TID 2010): a title, a description, and references."""

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
_UNNAMED: Final = Code("260753009", "SCT", "Source")  # required by highdicom; removed again below
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
    """An IMAGE item (TID 2010) for a source image, with its frame where it has one."""
    return hd.sr.ImageContentItem(
        _UNNAMED,
        image.sop_class_uid,
        image.sop_instance_uid,
        referenced_frame_numbers=None if image.frame is None else [image.frame],
        relationship_type=_CONTAINS,
    )


def object_item(reference: ObjectReference) -> Item:
    """An item for a result object: IMAGE where it has pixels, else COMPOSITE (TID 2010)."""
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
    """Write the content tree (TID 2010) and Key Object Document (PS3.3 C.17.6.2) into ``dataset``.

    ``words``: Key Object Description. ``evidence``: the objects to which ``items`` refer.
    """
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
