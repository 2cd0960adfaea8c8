"""Rejection notes, which withdraw results (IHE IOCM; Key Object Selection, PS3.3 A.35.4, TID 2010)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from pydicom.sr.coding import Code
from pydicom.uid import KeyObjectSelectionDocumentStorage

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
from worker.results.dataset import ResultContext, new_object, result_of
from worker.results.objects.selection import fill_selection, object_item
from worker.results.sources.slices import identity_header

# CID 7011 lists the reasons for a rejection for quality.
REJECTED_FOR_QUALITY: Final = Code("113001", "DCM", "Rejected for Quality Reasons")
INAPPROPRIATE_PROCESSING: Final = Code("111219", "DCM", "Inappropriate image processing")
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
    """A rejection note (IHE RAD TF-3 4.66, TID 2010) for all objects of ``withdrawn``.

    None without a Study Instance UID or without an object to withdraw. ``analysis`` replaces the withdrawn
    results; ``index`` (0-based) tells several notes of one analysis apart. The same arguments give the same
    bytes.
    """
    if analysis.study_instance_uid is None or not withdrawn:
        return None
    header = identity_header(source, [])
    context = ResultContext(analysis, analysis.study_instance_uid, header, installation_uid, claims, _SERIES)
    parts = ("rejection", *(item.sop_instance_uid for item in withdrawn))
    dataset = new_object(
        context, ResultKind.KEY_OBJECTS, index, KeyObjectSelectionDocumentStorage, "KO", *parts
    )
    fill_selection(
        dataset,
        context,
        REJECTED_FOR_QUALITY,
        _WORDS,
        map(object_item, withdrawn),
        withdrawn,
        modifier=INAPPROPRIATE_PROCESSING,
    )
    made = result_of(dataset, ResultKind.KEY_OBJECTS, index)
    return replace(made, kind=NoteKind.REJECTION)
