"""Whose study it is: patient and study attributes as the source has them.

An archive files an object by them, and one that lacks what its neighbours have looks like a mistake.
"""

import re
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from pydicom import Dataset
from pydicom.datadict import dictionary_VM, dictionary_VR
from pydicom.sequence import Sequence
from pydicom.valuerep import VR

from neurotriage.core.headers import MALFORMED

# Patient, Patient Study and General Study modules (PS3.3 C.7.1.1, C.7.2.2, C.7.2.1); type 2 ones are always
# written, empty where the source has none.
_TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
_TYPE_3 = (
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "TypeOfPatientID",
    "OtherPatientIDs",
    "OtherPatientIDsSequence",
    "OtherPatientNames",
    "PatientBirthTime",
    "QualityControlSubject",
    "EthnicGroup",
    "PatientComments",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "PatientBodyMassIndex",
    "MedicalAlerts",
    "Allergies",
    "Occupation",
    "SmokingStatus",
    "PregnancyStatus",
    "LastMenstrualDate",
    "PatientState",
    "AdditionalPatientHistory",
    "AdmittingDiagnosesDescription",
    "AdmissionID",
    "ReasonForVisit",
    "ServiceEpisodeID",
    "ServiceEpisodeDescription",
    "StudyDescription",
    "IssuerOfAccessionNumberSequence",
    "ReferencedStudySequence",
    "PhysiciansOfRecord",
    "NameOfPhysiciansReadingStudy",
    "ConsultingPhysicianName",
)
# Clinical Trial Subject and Study modules (C.7.1.3, C.7.2.3): what is there is copied, even if it is empty,
# where the type 1 ones have values.
_TYPE_1_OF_A_TRIAL = ("ClinicalTrialSponsorName", "ClinicalTrialProtocolID")
_OF_A_TRIAL = (
    *_TYPE_1_OF_A_TRIAL,
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
    "ClinicalTrialTimePointID",
    "ClinicalTrialTimePointDescription",
)
_MAX_LENGTH = {VR.LO: 64, VR.SH: 16, VR.CS: 16}  # characters, PS3.5 table 6.2-1
_PN_GROUP_LENGTH = 64  # characters per component group
_MAX_TEXT_LENGTH = {VR.LT: 10240, VR.ST: 1024, VR.UT: None}  # of text that may have several lines
_LINE_BREAKS = "\r\n"
_PREGNANCY_STATUS = (1, 2, 3, 4)  # C.7.2.2, the only US here
_YES_OR_NO = ("YES", "NO")
_ENUMERATED = {
    "PatientSex": ("M", "F", "O"),
    "QualityControlSubject": _YES_OR_NO,
    "PatientIdentityRemoved": ("NO",),  # YES goes with the method, below
    "SmokingStatus": (*_YES_OR_NO, "UNKNOWN"),
}
_DATE = re.compile(r"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
_TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?")
_AGE = re.compile(r"\d{3}[DWMY]")
_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


def copy_identity(header: Dataset, dataset: Dataset) -> None:
    """Patient and study attributes as the source has them, so that an archive files the object with it.

    PatientID is copied as it is, whatever its length: an archive makes a second study of another id.
    Other values that break the rules of their VR are cut or left empty.
    """
    for keyword in _TYPE_2:
        value = _value(header, keyword)
        setattr(dataset, keyword, "" if value is None else value)
    for keyword in _TYPE_3:
        value = _value(header, keyword)
        if value not in (None, ""):
            setattr(dataset, keyword, value)
    trial = {keyword: _value(header, keyword) for keyword in _OF_A_TRIAL if keyword in header}
    if all(trial.get(keyword) for keyword in _TYPE_1_OF_A_TRIAL):
        for keyword, value in trial.items():
            setattr(dataset, keyword, value or "")
    if "DeidentificationMethod" in dataset or "DeidentificationMethodCodeSequence" in dataset:
        dataset.PatientIdentityRemoved = "YES"


def _value(header: Dataset, keyword: str) -> Any:
    """An attribute's value as it may be written, or None where the source has none that is legal.

    What is legal goes by the VR of the dictionary (PS3.6): a source may state another one.
    """
    vr = VR(dictionary_VR(keyword))
    try:
        if keyword not in header or header[keyword].is_empty:
            return None
        element = header[keyword]
        if (element.VR == VR.SQ) != (vr == VR.SQ) or isinstance(element.value, bytes):
            return None
        if vr == VR.SQ:
            return _items(element.value)
        if vr == VR.US:
            return int(element.value) if element.value in _PREGNANCY_STATUS else None
        values = [str(value) for value in (element.value if element.VM > 1 else [element.value])]
        if keyword == "PatientID":
            return "\\".join(values)
        if dictionary_VM(keyword) == "1":
            return _legal(keyword, vr, " ".join(values))
        return [legal for value in values if (legal := _legal(keyword, vr, value))] or None
    except MALFORMED:
        return None  # pydicom converts values when they are asked for, and this one is malformed


def _items(items: Sequence) -> Sequence | None:
    """Copies of sequence items, without private attributes and the source's character set."""
    copies = [deepcopy(item) for item in items if len(item)]
    for item in copies:
        item.remove_private_tags()
        item.pop("SpecificCharacterSet", None)
    return Sequence(copies) if copies else None


_RULES: dict[VR, Callable[[str], bool]] = {
    VR.DA: lambda text: bool(_DATE.fullmatch(text)),
    VR.TM: lambda text: bool(_TIME.fullmatch(text)),
    VR.AS: lambda text: bool(_AGE.fullmatch(text)),
    VR.DS: lambda text: bool(_DECIMAL.fullmatch(text)) and len(text) <= 16,
}


def _legal(keyword: str, vr: VR, text: str) -> str | None:
    """Text within the rules of its VR (PS3.5 table 6.2-1), or None."""
    if vr in _MAX_TEXT_LENGTH:
        lines = "".join(c for c in text if c.isprintable() or c in _LINE_BREAKS).strip()
        return lines[: _MAX_TEXT_LENGTH[vr]]
    text = "".join(c for c in text if c.isprintable()).strip()
    if keyword in _ENUMERATED:
        return text if text in _ENUMERATED[keyword] else None
    if vr == VR.PN:
        groups = text.replace("\\", " ").split("=")[:3]
        return "=".join(group[:_PN_GROUP_LENGTH] for group in groups)
    if vr in _RULES:
        return text if _RULES[vr](text) else None
    limit = _MAX_LENGTH.get(vr)
    return text.replace("\\", " ")[:limit].rstrip() if limit else text
