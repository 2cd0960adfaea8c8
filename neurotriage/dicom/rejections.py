"""Rejection notes as others send them (IHE IOCM, RAD TF-3 4.66; Key Object Selection, PS3.3 A.35.4)."""

from typing import Final

from pydicom.dataset import Dataset

from neurotriage.core.errors import Refused
from neurotriage.core.rejection import RejectionNote, RejectionTitle
from neurotriage.core.values import ReasonCode
from neurotriage.dicom.attributes import items
from neurotriage.dicom.headers import text

KEY_OBJECT_SELECTION: Final = "1.2.840.10008.5.1.4.1.1.88.59"
# A note that names more is set aside: what it means for so many images is for a person to say.
MAX_REJECTED: Final = 5000
# Each is locked while the note is recorded, and whoever sends images of one waits.
MAX_STUDIES: Final = 50


def read_rejection(dataset: Dataset) -> RejectionNote | None:
    """The note that a data set is; None where it is none.

    The instances are those of the evidence (0040,A375), which lists all that the content refers to (PS3.3
    C.17.6.2). Raises ``Refused`` (NOT_RECORDED) where there are more than ``MAX_REJECTED``, or of more than
    ``MAX_STUDIES`` studies.
    """
    if text(dataset, "SOPClassUID") != KEY_OBJECT_SELECTION:
        return None
    title = _title(dataset)
    if title is None:
        return None
    named = dict.fromkeys(
        (text(study, "StudyInstanceUID"), text(instance, "ReferencedSOPInstanceUID"))
        for study in items(dataset, "CurrentRequestedProcedureEvidenceSequence")
        for series in items(study, "ReferencedSeriesSequence")
        for instance in items(series, "ReferencedSOPSequence")
    )
    instances = tuple(pair for pair in named if all(pair))
    if len(instances) > MAX_REJECTED:
        raise Refused(
            ReasonCode.NOT_RECORDED, f"a rejection note that names more than {MAX_REJECTED} instances"
        )
    if len({study for study, _ in instances}) > MAX_STUDIES:
        raise Refused(ReasonCode.NOT_RECORDED, f"a rejection note that names more than {MAX_STUDIES} studies")
    return RejectionNote(title, instances)


def _title(dataset: Dataset) -> RejectionTitle | None:
    for item in items(dataset, "ConceptNameCodeSequence"):
        if text(item, "CodingSchemeDesignator") == "DCM":
            value = text(item, "CodeValue")
            return RejectionTitle(value) if value in list(RejectionTitle) else None
    return None
