"""Rejection note (IHE IOCM; Key Object Selection, PS3.3 A.35.4, TID 2010): earlier results are withdrawn."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import highdicom as hd
from pydicom.sequence import Sequence as DicomSequence
from pydicom.sr.coding import Code
from pydicom.uid import (
    Comprehensive3DSRStorage,
    EncapsulatedPDFStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
)

from neurotriage.core.values import (
    Analysis,
    Claims,
    NoteKind,
    ObjectReference,
    ResultKind,
    ResultObject,
    SeriesLabel,
    StudyManifest,
)
from worker.results.dataset import Frame, new_object, result_of
from worker.results.objects.report import observer
from worker.results.references import study_references
from worker.results.source import identity_header

# CID 7011 holds the reasons for which an object is rejected for its quality.
REJECTED_FOR_QUALITY: Final = Code("113001", "DCM", "Rejected for Quality Reasons")
MODIFIER: Final = Code("113011", "DCM", "Document Title Modifier")
INAPPROPRIATE_PROCESSING: Final = Code("111219", "DCM", "Inappropriate image processing")
DESCRIPTION: Final = Code("113012", "DCM", "Key Object Description")
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
_SERIES: Final = {ResultKind.KEY_OBJECTS: SeriesLabel(9919, "AI head triage: results withdrawn (research)")}
_WORDS: Final = "Results of a model version that was recalled. They are withdrawn; look at the newer ones."


def rejection_note(
    analysis: Analysis,
    source: StudyManifest,
    installation_uid: str,
    withdrawn: Sequence[ObjectReference],
    *,
    index: int = 0,
    claims: Claims = Claims.RESEARCH,
) -> ResultObject | None:
    """A note that names every object of ``withdrawn``; None without a study to file it under.

    ``analysis`` is the one that takes their place. Called again with the same values, the bytes are the same.
    """
    if analysis.study_instance_uid is None or not withdrawn:
        return None
    header = identity_header(source, [])
    frame = Frame(analysis, analysis.study_instance_uid, header, installation_uid, claims, _SERIES)
    parts = ("rejection", *(item.sop_instance_uid for item in withdrawn))
    dataset = new_object(
        frame, ResultKind.KEY_OBJECTS, index, KeyObjectSelectionDocumentStorage, "KO", *parts
    )
    root = hd.sr.ContainerContentItem(REJECTED_FOR_QUALITY, template_id="2010")
    root.ContentSequence = hd.sr.ContentSequence(
        [
            hd.sr.CodeContentItem(
                MODIFIER, INAPPROPRIATE_PROCESSING, hd.sr.RelationshipTypeValues.HAS_CONCEPT_MOD
            ),
            *observer(frame),
            hd.sr.TextContentItem(DESCRIPTION, _WORDS, _CONTAINS),
            *(_item(reference) for reference in withdrawn),
        ]
    )
    dataset.update(root)
    for item in dataset.ContentSequence:
        if item.ValueType in ("IMAGE", "COMPOSITE"):
            del item.ConceptNameCodeSequence
    dataset.ReferencedPerformedProcedureStepSequence = DicomSequence()
    dataset.CurrentRequestedProcedureEvidenceSequence = study_references(dataset, withdrawn)
    made = result_of(dataset, ResultKind.KEY_OBJECTS, index)
    return replace(made, kind=NoteKind.REJECTION)


def _item(reference: ObjectReference) -> hd.sr.ImageContentItem | hd.sr.CompositeContentItem:
    other = reference.sop_class_uid in _NO_IMAGES
    content = hd.sr.CompositeContentItem if other else hd.sr.ImageContentItem
    return content(_UNNAMED, reference.sop_class_uid, reference.sop_instance_uid, relationship_type=_CONTAINS)
