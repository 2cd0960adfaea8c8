"""Rejection notes, which withdraw results (IHE IOCM; Key Object Selection, PS3.3 A.35.4, TID 2010)."""

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum
from typing import Final

from pydicom import Dataset
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
)
from worker.results.dataset import ResultContext, new_object, result_of
from worker.results.objects.selection import fill_selection, object_item

_MODEL_RECALLED: Final = (
    "Results of a model version that was recalled. They are withdrawn; look at the newer ones."
)
_NOT_OF_THIS_PATIENT: Final = (
    "Results of images that belong to another patient, or were rejected themselves. They are withdrawn."
)
# CID 7011 lists the reasons for a rejection for quality.
_INAPPROPRIATE_PROCESSING: Final = Code("111219", "DCM", "Inappropriate image processing")
_SERIES: Final = {ResultKind.KEY_OBJECTS: SeriesLabel(9919, "AI head triage: results withdrawn (research)")}


class Ground(Enum):
    """Why results are rejected: document title (CID 7010), its modifier, and a sentence."""

    MODEL_RECALLED = (
        Code("113001", "DCM", "Rejected for Quality Reasons"),
        _INAPPROPRIATE_PROCESSING,
        _MODEL_RECALLED,
    )
    WITHDRAWN = (
        Code("113037", "DCM", "Rejected for Patient Safety Reasons"),
        None,
        _NOT_OF_THIS_PATIENT,
    )


def rejection_note(
    analysis: Analysis,
    header: Dataset,
    installation_uid: str,
    withdrawn: Sequence[ObjectReference],
    *,
    ground: Ground = Ground.MODEL_RECALLED,
    index: int = 0,
    claims: Claims = Claims.RESEARCH,
) -> ResultObject | None:
    """A rejection note (IHE RAD TF-3 4.66, TID 2010) for all objects of ``withdrawn``.

    None without a Study Instance UID or without an object to withdraw. ``header``: of one of those objects,
    whose patient and study the note has. ``analysis`` replaces the withdrawn results; ``index`` (0-based)
    tells several notes of one analysis apart. The same arguments give the same bytes.
    """
    if analysis.study_instance_uid is None or not withdrawn:
        return None
    context = ResultContext(analysis, analysis.study_instance_uid, header, installation_uid, claims, _SERIES)
    parts = ("rejection", *(item.sop_instance_uid for item in withdrawn))
    dataset = new_object(
        context, ResultKind.KEY_OBJECTS, index, KeyObjectSelectionDocumentStorage, "KO", *parts
    )
    title, modifier, words = ground.value
    fill_selection(dataset, context, title, words, map(object_item, withdrawn), withdrawn, modifier=modifier)
    made = result_of(dataset, ResultKind.KEY_OBJECTS, index)
    return replace(made, kind=NoteKind.REJECTION)
